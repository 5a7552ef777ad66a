"""Jobs of several users: roles, limits, cancelling, leases, drafts, keeping and taking back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.forks import keep as keeping
from workbench.forks.plan import Plan
from workbench.forks.replay import joined
from workbench.forks.service import ForkLimits, Forks
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.server.roles import ForbiddenError, Role, User
from wovr_core.data.episode_files import read_rollout
from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.types import Episode, Rollout

ANN, BEN, EVE = User("ann", Role.ANNOTATOR), User("ben", Role.ANNOTATOR), User("eve", Role.VIEWER)
PLAN = Plan(2, 2, "edit", "original", np.full((8, 7), 0.5, np.float32))


class OneModel:
    """Hands out an environment, once `go` is set."""

    def __init__(self, env: Any) -> None:
        self.go = threading.Event()
        self.go.set()
        self._env = env

    @contextmanager
    def of(self, run: Path, stage: str, rollout: Rollout) -> Iterator[Any]:
        from workbench.forks.models import Loaded

        assert self.go.wait(30)
        yield Loaded(self._env, None, 0.995)


class Simulator:
    """ "Executes" a fork: what really happens is what was imagined, a little darker; success at the last frame."""

    def replay(self, run: Path, rollout: Rollout, on_piece: Any, stop: Any) -> Episode:
        if rollout.task.task != 0:
            raise WovrError("the scene could not be built: no such task")
        n = len(rollout.frames)
        on_piece(n - 1, n - 1)
        success = np.zeros(n, bool)
        success[-1] = True
        return Episode(
            rollout.id, rollout.task, 0, "replay", rollout.frames // 2, rollout.actions, success, np.zeros((n, 3))
        )

    def close(self) -> None:
        pass


@pytest.fixture
def forks(tally: Callable[..., Any]) -> Iterator[Forks]:
    service = Forks(ForkLimits(lease=0.5), OneModel(tally()), Simulator())  # type: ignore[arg-type]
    yield service
    service.close()


def finished(forks: Forks, user: User, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (state := forks.state(user, job))["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    return state


def test_a_fork_is_imagined_replayed_kept_and_taken_back(
    forks: Forks, original: Rollout, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs")
    state = finished(forks, ANN, forks.start(ANN, run, "imagine", "demo/imagine/r", original, PLAN))
    assert (state["state"], state["done"], state["total"]) == ("done", 4, 4)
    fork = state["result"]
    forks.keep(ANN, fork)
    path = run / "branches" / "rollouts" / f"{fork}.safetensors"
    assert read_rollout(path).info["branch_of"] == "r"
    assert not (run / "branches" / "rows.json").exists()

    assert finished(forks, ANN, forks.start_replay(ANN, fork))["state"] == "done"
    [row] = keeping.rows(run)
    assert (row["rollout_id"], row["real_success"]) == (fork, True)
    expected = np.abs(read_rollout(path).frames.astype(float) - read_rollout(path).frames // 2).mean((1, 2, 3))
    np.testing.assert_allclose(row["divergence"], expected, atol=1e-3)

    catalogue = Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0))
    item = catalogue.find(f"demo/branches/{fork}")
    assert item is not None
    assert item.kind == "branch"
    assert item.audit is not None
    assert item.audit.real_success
    assert item.replay == (run / "branches" / "replays" / path.name).resolve()
    version = read_json(run / "branches" / "outputs.json")["outputs"]["version"]

    with pytest.raises(ForbiddenError, match="take back a fork by ann"):
        forks.undo_keep(BEN, fork)
    assert forks.undo_keep(ANN, fork)
    assert not path.exists()
    assert keeping.rows(run) == []
    assert read_json(run / "branches" / "outputs.json")["outputs"]["version"] != version
    catalogue.look_again()
    assert catalogue.find(f"demo/branches/{fork}") is None
    assert not forks.undo_keep(ANN, fork), "it is gone already"


@pytest.mark.fault
def test_a_replay_that_ends_while_its_fork_is_being_kept_is_kept_too(
    forks: Forks, original: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = finished(forks, ANN, forks.start(ANN, tmp_path, "imagine", "x", original, PLAN))["result"]
    keep, jobs = keeping.keep, []

    def slowly(run: Path, rollout: Rollout, replay: Episode | None = None) -> Path:
        path = keep(run, rollout, replay)
        if not jobs:
            jobs.append(forks.start_replay(ANN, fork))
            time.sleep(0.3)  # time enough for the replay to be put in between, if it may
        return path

    monkeypatch.setattr(keeping, "keep", slowly)
    forks.keep(ANN, fork)
    assert finished(forks, ANN, jobs[0])["state"] == "done"
    assert forks.draft(fork).kept
    assert forks.draft(fork).replay is not None
    assert [row["rollout_id"] for row in keeping.rows(tmp_path)] == [fork]


def test_an_annotated_fork_stays(forks: Forks, original: Rollout, tmp_path: Path) -> None:
    fork = finished(forks, ANN, forks.start(ANN, tmp_path, "imagine", "x", original, PLAN))["result"]
    forks.keep(ANN, fork)
    span = {"id": "s1", "start": 1, "end": 2, "label": "other", "severity": 1, "note": ""}
    message = {"event": "e1", "op": "put", "version": 1, "span": span}
    SpanLog(tmp_path / LOG_NAME).append(message, rollout=fork, author="ann", frames=33)
    with pytest.raises(WovrError, match="annotated meanwhile"):
        forks.undo_keep(ANN, fork)
    assert keeping.forget(tmp_path, "../run.json") is False


def test_viewers_may_not(forks: Forks, original: Rollout, tmp_path: Path) -> None:
    with pytest.raises(ForbiddenError, match="may not imagine a fork"):
        forks.start(EVE, tmp_path, "imagine", "x", original, PLAN)
    fork = finished(forks, ANN, forks.start(ANN, tmp_path, "imagine", "x", original, PLAN))["result"]
    for act in (forks.keep, forks.undo_keep, forks.start_replay):
        with pytest.raises(ForbiddenError, match="takes the role annotator"):
            act(EVE, fork)
    assert not (tmp_path / "branches").exists()


def test_one_each_two_at_once_and_others_jobs_are_nobodys_business(
    forks: Forks, original: Rollout, tmp_path: Path
) -> None:
    forks.models.go.clear()  # type: ignore[attr-defined]
    job = forks.start(ANN, tmp_path, "imagine", "x", original, PLAN)
    with pytest.raises(WovrError, match="your last fork is still under way"):
        forks.start(ANN, tmp_path, "imagine", "x", original, PLAN)
    other = forks.start(BEN, tmp_path, "imagine", "x", original, PLAN)
    with pytest.raises(WovrError, match="no more run at once"):
        forks.start(User("cem", Role.OPERATOR), tmp_path, "imagine", "x", original, PLAN)
    for act in (forks.state, forks.cancel):
        with pytest.raises(WovrError, match="no such job of yours"):
            act(BEN, job)
    forks.cancel(BEN, other)
    forks.models.go.set()  # type: ignore[attr-defined]
    assert finished(forks, BEN, other)["state"] == "cancelled"


def test_a_job_that_nobody_asks_about_is_given_up(forks: Forks, original: Rollout, tmp_path: Path) -> None:
    forks.models.go.clear()  # type: ignore[attr-defined]
    job = forks.start(ANN, tmp_path, "imagine", "x", original, PLAN)
    record = forks._jobs[job]
    assert record.stop.wait(30), "the lease is half a second"
    forks.models.go.set()  # type: ignore[attr-defined]
    assert finished(forks, ANN, job)["state"] == "cancelled"


def test_a_scene_that_cannot_be_built_is_an_error_with_a_reason(
    forks: Forks, original: Rollout, tmp_path: Path
) -> None:
    from dataclasses import replace

    elsewhere = replace(original, task=replace(original.task, task=9))
    fork = finished(forks, ANN, forks.start(ANN, tmp_path, "imagine", "x", elsewhere, PLAN))["result"]
    state = finished(forks, ANN, forks.start_replay(ANN, fork))
    assert (state["state"], state["error"]) == ("failed", "the scene could not be built: no such task")


def test_pieces_of_a_replay_are_put_together_without_their_seams(make_episode: Callable[..., Episode]) -> None:
    from dataclasses import replace

    whole = make_episode(length=20, success_at=18)
    assert whole.sim_states is not None

    def part(a: int, b: int) -> Episode:
        assert whole.sim_states is not None
        return replace(
            whole, frames=whole.frames[a : b + 1], success=whole.success[a : b + 1],
            sim_states=whole.sim_states[a : b + 1], actions=whole.actions[a:b],
        )  # fmt: skip

    again = joined([part(0, 8), part(8, 16), part(16, 20)])
    for name in ("frames", "success", "sim_states", "actions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
