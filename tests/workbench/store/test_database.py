"""Opening: safe settings, migrations, versions, addresses; one writer at a time."""

from __future__ import annotations

import builtins
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, select, text

from workbench.store import upgrade as upgrades
from workbench.store.database import DatabaseConfig, StoreDamagedError, StoreError, database_url
from workbench.store.store import Store
from workbench.store.tables import Base, Run
from workbench.store.upgrade import StoreVersionError, head, revision
from wovr_core.errors import MissingDependencyError


def run_row(n: int, **more: Any) -> dict[str, Any]:
    row = {"key": f"r{n}", "path": f"/r{n}", "recipe": "", "wovr": "", "made": 0.0, "signature": "", "missing": False}
    return row | more


def test_the_migrations_make_the_tables_that_the_code_describes(store: Store) -> None:
    with store.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert revision(session.connection()) == head()


def test_what_is_written_is_there_for_another_and_what_fails_is_not(open_store: Callable[[], Store]) -> None:
    store, other = open_store(), open_store()
    with store.write() as session:
        session.execute(insert(Run), [run_row(1)])

    def stop_half_way() -> None:
        with store.write() as session:
            session.execute(insert(Run), [run_row(2)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_half_way()
    with other.read() as session:
        assert list(session.scalars(select(Run.key))) == ["r1"]


def test_a_constraint_holds_and_is_no_silent_loss(store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    from workbench.store.tables import CheckpointRow

    row = {"run_id": 77, "stage": "", "kind": "", "version": "", "path": "", "title": ""}
    with pytest.raises((IntegrityError, StoreError)), store.write() as session:
        session.execute(insert(CheckpointRow), [row])


def test_writers_take_turns(open_store: Callable[[], Store]) -> None:
    """Read, then write what was read plus one: with two writers at once a count would be lost."""
    stores = [open_store() for _ in range(4)]
    with stores[0].write() as session:
        session.execute(insert(Run), [run_row(1)])
    errors: list[Exception] = []

    def count_up(store: Store) -> None:
        try:
            for _ in range(10):
                with store.write() as session:
                    run = session.scalars(select(Run)).one()
                    run.made += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=count_up, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with stores[0].read() as session:
        assert session.scalar(select(Run.made)) == 40


def _open(address: str, start: Any, done: Any) -> None:
    start.wait(30)
    with Store.open(DatabaseConfig(address)) as store, store.write() as session:
        done.put(session.scalar(select(func.count()).select_from(Run)))


def test_processes_that_open_an_empty_database_at_once_make_its_tables_once(address: str) -> None:
    context = multiprocessing.get_context("fork")
    start, done = context.Event(), context.Queue()
    workers = [context.Process(target=_open, args=(address, start, done)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert [done.get(timeout=5) for _ in workers] == [0, 0, 0]


def test_a_newer_database_is_refused_and_left_alone(address: str) -> None:
    with Store.open(DatabaseConfig(address)) as store, store.write() as session:
        session.execute(insert(Run), [run_row(1)])
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreVersionError, match=r"newer wovr \(revision 9999.*update wovr"):
        Store.open(DatabaseConfig(address))
    engine = create_engine(database_url(address))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 1
    engine.dispose()


def test_a_database_of_somebody_else_is_refused(address: str) -> None:
    engine = create_engine(database_url(address))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE invoices (id INTEGER)"))
    engine.dispose()
    with pytest.raises(StoreError, match=r"not wovr's.*invoices"):
        Store.open(DatabaseConfig(address))


def test_a_failed_migration_leaves_the_old_tables(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("stopped half way")

    from alembic import op

    original = op.create_index
    calls = iter(range(100))
    monkeypatch.setattr(op, "create_index", lambda *a, **k: fail() if next(calls) == 5 else original(*a, **k))
    with pytest.raises(RuntimeError, match="half way"):
        Store.open(DatabaseConfig(address))
    monkeypatch.undo()
    with Store.open(DatabaseConfig(address)) as store, store.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


def test_a_copy_is_kept_before_the_tables_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DatabaseConfig(f"sqlite:///{tmp_path}/store.db")
    with Store.open(config) as store, store.write() as session:
        session.execute(insert(Run), [run_row(1)])
    steps: list[str] = []
    monkeypatch.setattr(upgrades, "head", lambda: "next")
    monkeypatch.setattr(upgrades.command, "upgrade", lambda config, to: steps.append(to))
    Store.open(config).close()
    assert steps == ["head"]
    with sqlite3.connect(tmp_path / "store.db.before-next") as copy:
        assert copy.execute("SELECT key FROM runs").fetchall() == [("r1",)]


def test_sqlite_runs_in_its_safe_mode(sqlite_store: Store) -> None:
    with sqlite_store.read() as session:
        connection = session.connection()
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                    ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")]  # fmt: skip
    assert settings == ["truncate", 3, 1, 20_000]  # 3: EXTRA
    assert sqlite_store.check() == []


@pytest.mark.fault
def test_a_damaged_file_says_how_it_is_mended(tmp_path: Path) -> None:
    config = DatabaseConfig(f"sqlite:///{tmp_path}/store.db")
    with Store.open(config) as store, store.write() as session:
        session.execute(insert(Run), [run_row(n) for n in range(500)])
    data = bytearray((tmp_path / "store.db").read_bytes())
    data[:64] = b"x" * 64
    (tmp_path / "store.db").write_bytes(data)
    with pytest.raises(StoreDamagedError, match="wovr store rebuild --fresh"):
        Store.open(config)
    with Store.open_fresh(config) as store, store.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0
    assert (tmp_path / "store.db.old").read_bytes() == data, "kept aside"


def test_open_fresh_empties(address: str) -> None:
    with Store.open(DatabaseConfig(address)) as store, store.write() as session:
        session.execute(insert(Run), [run_row(1)])
    with Store.open_fresh(DatabaseConfig(address)) as store, store.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://x/y", "sqlite or postgresql, not on 'mysql'"),
        ("not an address", "looks like postgresql://"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_addresses_that_are_none(url: str, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        database_url(url)


def test_the_address_comes_from_the_environment_or_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WOVR_DATABASE_URL", raising=False)
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    assert database_url().database == str(tmp_path / "store.db")
    monkeypatch.setenv("WOVR_DATABASE_URL", "postgresql://u:secret@h/d")
    assert database_url().drivername == "postgresql+psycopg"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "psycopg":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"wovr-workbench\[postgres\]"):
        Store.open(DatabaseConfig("postgresql://u:p@127.0.0.1/none"))


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="connection") as caught:
        Store.open(DatabaseConfig("postgresql://somebody:topsecret@127.0.0.1:1/none"))
    assert "topsecret" not in str(caught.value)
