"""The database: SQLite in its safe mode, or PostgreSQL; who may write when; errors in words.

SQLite's write-ahead log can corrupt a database in the releases that Python links today (a reset race between two
connections, up to 3.51.2), so the rollback journal is used, with every commit carried through to the disk. One
writer at a time: on SQLite a file lock queues them fairly (SQLite's own waiting is a lottery), on PostgreSQL an
advisory lock. What is written here is then the same on both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.files import wovr_home

URL_VARIABLE = "WOVR_DATABASE_URL"
FILE_NAME = "store.db"
_ADVISORY_LOCK = 0x574F5652  # any number of our own
_WRITES = "wovr_writes"


class StoreError(WovrError):
    """The store cannot be opened, read or written. What it indexes, the runs' files, is untouched."""


class StoreBusyError(StoreError):
    """Another writer is at work, and one did not want to wait."""


class StoreDamagedError(StoreError):
    """The database file is no database any more, or a torn one."""


@dataclass(frozen=True)
class DatabaseConfig:
    """Which database, and how patient."""

    url: str | None = None
    """An SQLAlchemy URL; None: WOVR_DATABASE_URL, or SQLite at $WOVR_HOME/store.db."""
    busy_seconds: float = 20.0
    """How long SQLite waits for a lock that a foreign program holds."""


class Database:
    """An engine with one way to read and one way to write. Safe for several threads and processes."""

    def __init__(self, config: DatabaseConfig | None = None) -> None:
        config = config or DatabaseConfig()
        self.url = database_url(config.url)
        self.path = Path(str(self.url.database)) if self.url.drivername == "sqlite" else None
        """The SQLite file; None on PostgreSQL."""
        self.engine = _sqlite(self.url, config) if self.path else _postgres(self.url)

    @property
    def name(self) -> str:
        """For people: the file, or the server without its password."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state. Keep it short: a reader holds up SQLite's writers. Raises StoreError."""
        with self._explained(), self.engine.connect() as connection, connection.begin(), Session(connection) as session:
            yield session

    @contextlib.contextmanager
    def write(self, wait: bool = True) -> Iterator[Session]:
        """A session of the only writer; committed, and on the disk, when the block ends well.

        Raises StoreError; with `wait` false StoreBusyError, at once, when somebody else is writing.
        """
        with self._explained(), self._turn(wait), self.engine.connect() as plain:
            connection = plain.execution_options(**{_WRITES: True})
            with connection.begin(), Session(connection) as session:
                if self.path is None:
                    self._advisory_lock(connection, wait)
                yield session
                session.flush()

    @staticmethod
    def _advisory_lock(connection: Connection, wait: bool) -> None:
        function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        if connection.execute(text(f"SELECT {function}(:key)"), {"key": _ADVISORY_LOCK}).scalar() is False:
            raise StoreBusyError("somebody else is writing into the store")

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _turn(self, wait: bool) -> Iterator[None]:
        if self.path is None:
            yield
            return
        # The kernel wakes waiters in their order; the lock goes with the process that held it.
        try:
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StoreError(f"the store {self.path} cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreBusyError("somebody else is writing into the store") from error
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_words(error) from error

    def _in_words(self, error: DBAPIError) -> Exception:
        what = str(error.orig).strip()
        if self.path is None:
            return StoreError(f"the store {self.name}: {what.splitlines()[0] if what else error}")
        if "disk is full" in what or "disk I/O error" in what:
            free = shutil.disk_usage(self.path.parent).free / 1e6
            return StoreError(
                f"the store {self.path} cannot be written: {what} ({free:,.0f} MB free there); nothing was lost: "
                "make room, then do the same again"
            )
        if "malformed" in what or "not a database" in what:
            return StoreDamagedError(
                f"the store {self.path} is damaged ({what}); `wovr store rebuild --fresh` makes it anew from the files"
            )
        if isinstance(error, OperationalError):
            return StoreError(f"the store {self.path} cannot be used: {what}")
        return error


def database_url(url: str | None = None) -> URL:
    """The database's address. Raises StoreError for one that is none, or of another kind of database."""
    given = url or os.environ.get(URL_VARIABLE)
    if not given:
        return URL.create("sqlite", database=str(wovr_home().absolute() / FILE_NAME))
    try:
        parsed = make_url(given)
    except ArgumentError as error:
        raise StoreError(
            f"{URL_VARIABLE} is no database address; it looks like postgresql://user:password@host:5432/name"
        ) from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("a store needs a file: sqlite:////absolute/path/store.db")
        return parsed.set(drivername="sqlite", database=os.path.abspath(parsed.database))
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"the store runs on sqlite or postgresql, not on {kind!r}; change {URL_VARIABLE}")


def _sqlite(url: URL, config: DatabaseConfig) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made: {error.strerror}") from error
    engine = create_engine(url, connect_args={"timeout": config.busy_seconds})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # this module, not the driver, says BEGIN
        cursor = connection.cursor()
        for pragma in ("journal_mode=TRUNCATE", "synchronous=EXTRA", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could not wait for its turn.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(url: URL) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "a store on PostgreSQL needs psycopg: pip install 'wovr-workbench[postgres]'"
        ) from error
    return create_engine(url, pool_pre_ping=True)
