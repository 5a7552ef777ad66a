"""Brings a database to this version's tables, once, however many processes open it at the same time."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from workbench.store import review_tables  # noqa: F401  # its tables belong to the same metadata
from workbench.store.database import Database, StoreError

log = logging.getLogger("wovr.store")

MIGRATIONS = Path(__file__).parent / "migrations"


class StoreVersionError(StoreError):
    """The database was made by a newer wovr than this."""


def head() -> str:
    """The revision of this version's tables."""
    return str(_scripts().get_current_head())


def revision(connection: Connection) -> str | None:
    """The database's revision; None of an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> None:
    """Make or change the tables where needed.

    All of it happens in one transaction, so a kill leaves the old tables. Of an SQLite file with content a copy is
    kept first, as store.db.before-<revision>.

    Raises:
        StoreVersionError: the database is newer than this program; nothing is touched.
        StoreError: there are tables that no wovr made, or the database cannot be written.
    """
    with database.read() as session:
        if _current(session.connection(), database.name):
            return
    with database.write() as session:
        connection = session.connection()
        if _current(connection, database.name):  # another process was faster
            return
        _keep_copy(database, revision(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current(connection: Connection, name: str) -> bool:
    """Whether nothing is to be done. Raises as `upgrade` does."""
    found = revision(connection)
    if found is None:
        foreign = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if foreign:
            raise StoreError(f"{name} holds tables that are not wovr's ({', '.join(foreign[:3])}); name another")
        return False
    known = [script.revision for script in _scripts().walk_revisions()]
    if found not in known:
        raise StoreVersionError(
            f"the store {name} has tables of a newer wovr (revision {found}; this one knows up to {head()}): "
            "update wovr, or name another store"
        )
    return found == head()


def _keep_copy(database: Database, found: str | None) -> None:
    if database.path is None or found is None:
        return
    copy = database.path.with_name(f"{database.path.name}.before-{head()}")
    log.info("the store's tables change; a copy of the old ones is kept at %s", copy)
    # Our own write lock is held, so nobody changes what is being copied.
    source, target = sqlite3.connect(database.path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
