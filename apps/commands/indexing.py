"""The index over all runs, as commands need it: brought up to the files first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from workbench.store.indexer import Indexer
    from workbench.store.store import Store


def all_runs(store: Store, paths: Sequence[Path] = ()) -> list[Path]:
    """The workbench's own runs, those in `paths`, and those that the store knows from elsewhere."""
    from sqlalchemy import select

    from workbench.catalogue.catalogue import CatalogueConfig, find_runs
    from workbench.store.tables import Run

    with store.read() as session:
        known = [Path(path) for path in session.scalars(select(Run.path))]
    found, problems = find_runs(CatalogueConfig(paths=(*paths, *(p for p in known if (p / "run.json").is_file()))))
    if problems:
        raise WovrError(problems[0].reason)
    return list(found)


def up_to_date() -> Indexer:
    """An indexer whose store has been brought up to the runs."""
    from workbench.store.indexer import Indexer
    from workbench.store.store import Store

    indexer = Indexer(Store.open())
    indexer.update(all_runs(indexer.store))
    return indexer
