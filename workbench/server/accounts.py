"""Who may sign in: names, roles and argon2id hashes, in $WOVR_HOME/users.json (readable by its owner alone)."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.server.private_files import locked, write_private_json
from workbench.server.roles import Role
from wovr_core.errors import CorruptFileError, MissingDependencyError, UnknownNameError, WovrError
from wovr_core.files import read_json, wovr_home

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHORTEST, LONGEST = 10, 1024
"""Characters of a password."""


@dataclass(frozen=True)
class HashConfig:
    """Cost of argon2id: RFC 9106's second recommendation, which takes about 0.1 s and 64 MiB."""

    passes: int = 3
    memory_kib: int = 65536
    lanes: int = 4
    at_once: int = 2
    """So many hashes are computed at the same time; others wait."""


class AccountError(WovrError):
    """An account that cannot be made or changed as asked."""


@dataclass(frozen=True)
class Account:
    """One user."""

    name: str
    role: Role
    hash: str
    """argon2id, with its salt and costs."""
    stamp: str
    """Drawn anew with every change of password or role: sessions that carry another one have ended."""
    made: str
    """When, UTC."""


class Accounts:
    """The file of accounts. What another process changes in it counts at once. Safe for several threads."""

    def __init__(self, path: Path | None = None, hashing: HashConfig | None = None) -> None:
        self.path = path or wovr_home() / "users.json"
        self._hashing = hashing or HashConfig()
        self._turn = threading.BoundedSemaphore(self._hashing.at_once)
        self._nobody: str | None = None

    def all(self) -> list[Account]:
        """By name. Raises CorruptFileError."""
        return sorted(self._read().values(), key=lambda account: account.name)

    def find(self, name: str) -> Account | None:
        """The account of this name, or None. Raises CorruptFileError."""
        return self._read().get(name)

    def check(self, name: str, password: str) -> Account | None:
        """The account, if this is its password. Takes as long for a name that is none."""
        account = self.find(name)
        hasher = self._hasher()
        if self._nobody is None:
            self._nobody = hasher.hash(secrets.token_hex(16))
        from argon2.exceptions import InvalidHashError, VerificationError

        with self._turn:
            try:
                hasher.verify(account.hash if account else self._nobody, password[: LONGEST + 1])
            except (VerificationError, InvalidHashError):
                return None
        return account

    def add(self, name: str, password: str, role: Role) -> Account:
        """A new account. Raises AccountError for a name that is taken or none, and a password too short."""
        if not _NAME.fullmatch(name):
            raise AccountError(f"{name[:80]!r} is no name: letters, digits, dot, dash and underscore, 64 at most")
        hashed = self._hash(password)
        with locked(self.path):
            accounts = self._read()
            if name in accounts:
                raise AccountError(f"there is a user {name!r} already; to change one: wovr users password, or role")
            account = Account(name, role, hashed, _stamp(), datetime.now(UTC).isoformat(timespec="seconds"))
            self._write(accounts | {name: account})
        return account

    def remove(self, name: str) -> None:
        """Ends the account and its sessions. Raises UnknownNameError."""
        with locked(self.path):
            accounts = self._read()
            _known(accounts, name)
            self._write({key: account for key, account in accounts.items() if key != name})

    def set_role(self, name: str, role: Role) -> Account:
        """Raises UnknownNameError. The user's sessions end."""
        return self._change(name, role=role)

    def set_password(self, name: str, password: str) -> Account:
        """Raises UnknownNameError, AccountError. The user's sessions end."""
        return self._change(name, hash=self._hash(password))

    def _change(self, name: str, **changes: Any) -> Account:
        with locked(self.path):
            accounts = self._read()
            changed = replace(_known(accounts, name), stamp=_stamp(), **changes)
            self._write(accounts | {name: changed})
        return changed

    def _hash(self, password: str) -> str:
        if not SHORTEST <= len(password) <= LONGEST:
            raise AccountError(f"a password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}")
        with self._turn:
            return self._hasher().hash(password)

    def _hasher(self) -> PasswordHasher:
        try:
            from argon2 import PasswordHasher
        except ImportError as error:
            raise MissingDependencyError("accounts need argon2: pip install 'wovr-workbench[app]'") from error
        cost = self._hashing
        return PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)

    def _read(self) -> dict[str, Account]:
        if not self.path.exists():
            return {}
        value = read_json(self.path)
        try:
            rows: Mapping[str, Any] = value["users"]
            return {
                name: Account(**{**row, "name": name, "role": Role[row["role"].upper()]}) for name, row in rows.items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(
                f"{self.path} is not a list of users ({error!r}); put it back, or remove it"
            ) from error

    def _write(self, accounts: Mapping[str, Account]) -> None:
        rows = {name: asdict(account) | {"role": account.role.name.lower()} for name, account in accounts.items()}
        write_private_json(self.path, {"schema": 1, "users": rows})


def role_named(name: str) -> Role:
    """Raises UnknownNameError, with what was perhaps meant."""
    try:
        return Role[name.upper()]
    except KeyError:
        raise UnknownNameError("role", name, [role.name.lower() for role in Role]) from None


def _known(accounts: Mapping[str, Account], name: str) -> Account:
    if name not in accounts:
        raise UnknownNameError("user", name, accounts)
    return accounts[name]


def _stamp() -> str:
    return secrets.token_hex(8)
