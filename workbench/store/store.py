"""The store: a database with this version's tables, ready for use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.orm import Session

from workbench.store.database import Database, DatabaseConfig, StoreError
from workbench.store.upgrade import upgrade


class Store:
    """Opened by `Store.open`; what is in it is read and written by the modules beside this one."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, config: DatabaseConfig | None = None) -> Store:
        """The store, its tables made or brought up to date.

        Raises:
            StoreVersionError: it was made by a newer wovr.
            StoreError: it cannot be reached, read or written; the message says what to do.
            MissingDependencyError: PostgreSQL without psycopg.
        """
        database = Database(config)
        try:
            upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def open_fresh(cls, config: DatabaseConfig | None = None) -> Store:
        """The store, empty: what there was is moved aside (SQLite) or dropped (PostgreSQL).

        All that was in it can be made again from the files.
        """
        database = Database(config)
        try:
            _clear(database)
        finally:
            database.close()
        return cls.open(config)

    @property
    def name(self) -> str:
        """For people."""
        return self.database.name

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """See Database.read."""
        with self.database.read() as session:
            yield session

    @contextlib.contextmanager
    def write(self, wait: bool = True) -> Iterator[Session]:
        """See Database.write."""
        with self.database.write(wait) as session:
            yield session

    def check(self) -> list[str]:
        """What the database itself finds wrong with its file; empty when it is sound. Raises StoreError."""
        if self.database.path is None:
            return []
        with self.read() as session:
            connection = session.connection()
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            dangling = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
        return [line for line in found if line != "ok"] + [f"dangling reference in {table}" for table in dangling]

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _clear(database: Database) -> None:
    from sqlalchemy import text

    from workbench.store.tables import Base

    if database.path is None:
        with database.write() as session:
            Base.metadata.drop_all(session.connection())
            session.execute(text("DROP TABLE IF EXISTS alembic_version"))
        return
    if not database.path.exists():
        return
    aside, n = database.path.with_name(database.path.name + ".old"), 2
    while aside.exists():
        aside, n = database.path.with_name(f"{database.path.name}.old{n}"), n + 1
    try:
        database.path.rename(aside)
    except OSError as error:
        raise StoreError(f"{database.path} cannot be moved aside: {error.strerror}") from error
    database.path.with_name(database.path.name + "-journal").unlink(missing_ok=True)
