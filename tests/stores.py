"""Stores on both databases: the same tests hold for SQLite and for a real PostgreSQL server."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench.store.database import DatabaseConfig
from workbench.store.store import Store

SERVER = "WOVR_TEST_DATABASE_URL"


@pytest.fixture
def quick_disk() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of fsyncs would measure the disk, and whoever else uses it.

    A killed process leaves the same there as on a disk; only a power cut would not.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, quick_disk: Path) -> Iterator[str]:
    """The address of an empty database: a new file, or a schema of its own on the server."""
    if request.param == "sqlite":
        yield f"sqlite:///{quick_disk}/store.db"
        return
    server = os.environ.get(SERVER)
    if not server:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run these tests on a real server; .ci/run sets {SERVER}")
        pytest.skip(f"no PostgreSQL server: set {SERVER} (tools/postgres.sh start prints an address)")
    import psycopg

    schema = f"wovr_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    yield f"{server}?options=-csearch_path%3D{schema}"  # no connection is open here: tests fork
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def open_store(address: str) -> Iterator[Callable[[], Store]]:
    """Opens the database, each time anew."""
    opened: list[Store] = []

    def open_it() -> Store:
        opened.append(Store.open(DatabaseConfig(address)))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """For what has nothing to do with the kind of database."""
    with Store.open(DatabaseConfig(f"sqlite:///{tmp_path}/only.db")) as opened:
        yield opened
