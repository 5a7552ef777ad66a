"""Signing in and out, and who a token belongs to: accounts, sessions, throttle and audit log together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.server.accounts import Accounts
from workbench.server.audit_log import AuditLog
from workbench.server.roles import Role, User
from workbench.server.sessions import Sessions
from workbench.server.throttle import Throttle, ThrottleConfig
from wovr_core.errors import WovrError


class SignInError(WovrError):
    """Refused. `wait` is how many seconds to wait before the next try; 0 if none."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Access:
    """One per app."""

    accounts: Accounts = field(default_factory=Accounts)
    sessions: Sessions = field(default_factory=Sessions)
    log: AuditLog = field(default_factory=AuditLog)
    pairs: Throttle = field(default_factory=Throttle)
    """By name and address together: who mistypes waits, others with that name elsewhere do not."""
    addresses: Throttle = field(default_factory=lambda: Throttle(ThrottleConfig(free=20)))
    names: Throttle = field(default_factory=lambda: Throttle(ThrottleConfig(free=50)))
    """By name from anywhere: guessing from many addresses."""

    def sign_in(self, name: str, password: str, address: str) -> str:
        """A new session's token. Raises SignInError, which tells a wrong name from a wrong password in nothing."""
        counted: list[tuple[Throttle, str]] = []
        for throttle, key in ((self.pairs, f"{name}\0{address}"), (self.addresses, address), (self.names, name)):
            wait = throttle.attempt(key)
            if wait > 0:
                for earlier, its_key in counted:
                    earlier.forgive(its_key)
                self.log.write(name[:64], "sign-in refused, too many tries", address=address)
                raise SignInError(f"too many tries; wait {_span(wait)}, then try again", wait)
            counted.append((throttle, key))
        account = self.accounts.check(name, password)
        if account is None:
            self.log.write(name[:64], "sign-in failed", address=address)
            raise SignInError("this name and password do not belong together")
        self.pairs.succeeded(f"{name}\0{address}")
        self.names.forgive(name)
        self.addresses.forgive(address)  # one good password does not make up for guesses at other names
        self.log.write(account.name, "signed in", address=address)
        return self.sessions.issue(account.name, account.stamp)

    def user(self, token: str) -> User | None:
        """Whose session this is, with the role of this moment; None where it has ended."""
        claims = self.sessions.read(token)
        account = self.accounts.find(claims.name) if claims else None
        if claims is None or account is None or account.stamp != claims.stamp:
            return None
        return User(account.name, account.role, witness_into(self.log))

    def sign_out(self, token: str, address: str) -> None:
        """Ends the session. A token that is none is none afterwards."""
        user = self.user(token)
        self.sessions.end(token)
        if user:
            self.log.write(user.name, "signed out", address=address)


def witness_into(log: AuditLog) -> Callable[[User, Role, str, bool], None]:
    """Writes down what took more than looking, and what was refused."""

    def witness(user: User, role: Role, what: str, allowed: bool) -> None:
        if role > Role.VIEWER or not allowed:
            log.write(user.name, what, role=user.role.name.lower(), allowed=allowed)

    return witness


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
