"""Signed sessions that end: a token in a cookie, refused once expired, signed out, forged, or its account changed."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.server.private_files import locked, write_private, write_private_json
from wovr_core.errors import CorruptFileError, MissingDependencyError
from wovr_core.files import read_json, wovr_home

_SALT = "wovr session 1"


@dataclass(frozen=True)
class SessionConfig:
    """How long a session lasts."""

    seconds: float = 12 * 3600.0
    """From signing in, whatever happens in between."""


@dataclass(frozen=True)
class Claims:
    """What a sound token says."""

    id: str
    name: str
    stamp: str
    """The account's, when it signed in."""
    until: float
    """Unix time."""


class Sessions:
    """Issues and reads tokens. The key and the list of those signed out lie in `folder`, so both outlive a restart."""

    def __init__(
        self, folder: Path | None = None, config: SessionConfig | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        folder = folder or wovr_home()
        self.config = config or SessionConfig()
        self._clock = clock
        self._ended_file = folder / "sessions_ended.json"
        self._signer = _serializer(_key(folder / "session.key"))
        self._guard = threading.Lock()
        self._ended = self._read_ended()

    def issue(self, name: str, stamp: str) -> str:
        """A new token. Nothing that the browser brought goes into it."""
        claims = [secrets.token_hex(16), name, stamp, self._clock() + self.config.seconds]
        return str(self._signer.dumps(claims))

    def read(self, token: str) -> Claims | None:
        """What the token says; None if it is forged, expired or signed out."""
        from itsdangerous import BadData

        try:
            claims = Claims(*self._signer.loads(token))
        except (BadData, TypeError, ValueError):
            return None
        if claims.until <= self._clock() or claims.id in self._ended:
            return None
        return claims

    def end(self, token: str) -> None:
        """Signs out: this token is refused from now on, also after a restart."""
        claims = self.read(token)
        if claims is None:
            return
        with self._guard, locked(self._ended_file):
            self._ended = {id_: until for id_, until in self._read_ended().items() if until > self._clock()}
            self._ended[claims.id] = claims.until
            write_private_json(self._ended_file, self._ended)

    def _read_ended(self) -> dict[str, float]:
        if not self._ended_file.exists():
            return {}
        value = read_json(self._ended_file)
        if not isinstance(value, dict):
            raise CorruptFileError(f"{self._ended_file} is not a list of sessions; remove it and session.key with it")
        return {str(id_): float(until) for id_, until in value.items()}


def _key(path: Path) -> bytes:
    """32 random bytes, made once and readable by the owner alone. Removing the file ends every session."""
    with locked(path):
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) >= 32:
                return key
        key = secrets.token_bytes(32)
        write_private(path, key)
    return key


def _serializer(key: bytes) -> Any:
    try:
        from itsdangerous import URLSafeSerializer
    except ImportError as error:
        raise MissingDependencyError("signing in needs itsdangerous: pip install 'wovr-workbench[app]'") from error
    return URLSafeSerializer(key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256})
