"""Evidence that is gathered afterwards, for a whole run: other seeds, and where things are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.cli import main
from workbench.evidence.gather import EvidenceStore
from workbench.evidence.measuring import PROBE, SEEDS
from workbench.review.queue import ReviewQueue
from workbench.store.database import DatabaseConfig
from workbench.store.indexer import Indexer
from workbench.store.store import Store


def test_a_run_that_has_not_come_so_far_says_what_to_run(
    make_run: Callable[..., Path], smoke_description: Callable[[Path], None], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = make_run(tmp_path, "a", recipe="smoke")
    smoke_description(run)
    assert main(["review", "measure", str(run)]) == 2
    told = capsys.readouterr().err
    assert "a has not finished refine: run `wovr run audit --recipe smoke --run a`" in told
    assert not (run / SEEDS).exists()


@pytest.fixture
def smoke_description() -> Callable[[Path], None]:
    """Makes run.json say that the run was made with recipe smoke, all of its keys."""

    def write(run: Path) -> None:
        from wovr_core import recipes
        from wovr_core.config import to_dict
        from wovr_core.files import read_json, write_json

        told = read_json(run / "run.json")
        write_json(run / "run.json", told | {"config": to_dict(recipes.get("smoke"))})

    return write


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_seeds_and_objects_of_a_real_run(smoke_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is known of either before; both are there afterwards, rank the queue, and are not made twice."""
    run = tmp_path / "measured"
    shutil.copytree(smoke_run, run)
    with Store.open(DatabaseConfig(f"sqlite:///{tmp_path}/store.db")) as store:
        indexer = Indexer(store)
        indexer.update([run])
        queue, evidence = ReviewQueue(store), EvidenceStore(store)
        names = [e.id for e in queue.ranked() if e.id.startswith("measured/imagine/")]
        assert names
        assert not any("seeds" in e.signals for e in queue.ranked())
        before = evidence.of(names[0], objects=True)
        assert before.seeds is None
        assert "wovr review measure RUN" in before.missing["seeds"]
        assert "wovr review measure RUN --objects" in before.missing["object_error"]

        assert main(["review", "measure", str(run), "--objects"]) == 0
        told = capsys.readouterr().out
        assert f"{len(names)} rollouts imagined again" in told
        assert "the probe errs on real frames by: gripper " in told

        indexer.update([run])
        known = {e.id: e.signals["seeds"] for e in queue.ranked(again=True) if e.id in names}
        assert len(known) == len(names)
        assert all(0 <= rank <= 1 for rank in known.values())
        after = evidence.of(names[0], objects=True)
        assert after.seeds is not None
        assert after.object_error is not None
        assert set(after.object_error.excess) == {"gripper", "object"}
    made = {stage: (run / stage / "outputs.json").stat().st_mtime_ns for stage in (SEEDS, PROBE)}
    assert main(["review", "measure", str(run), "--objects"]) == 0
    assert made == {stage: (run / stage / "outputs.json").stat().st_mtime_ns for stage in (SEEDS, PROBE)}
