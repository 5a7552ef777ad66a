"""What a correction version leads to: a job, and a rollout before and after. (The training: test_review_loop.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from workbench.corrections import CorrectionsConfig, make, source_of
from workbench.flags import add_audit_flags, logged_flags
from workbench.jobs.spec import JobSpec
from workbench.retrain import (
    before_and_after,
    corrections_of,
    imagine_again,
    job_of,
    key_of,
    refine,
    refined,
    stage_of,
    versions,
)
from workbench.run_data import RunData
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import write_json
from wovr_core.types import CHUNK, Episode, Keyframe, Rollout


@pytest.fixture
def run(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    return make_run(tmp_path, "a")


def version_of(run: Path) -> str:
    source = source_of(run)
    add_audit_flags(run, source)
    return make(source, logged_flags(run, source), CorrectionsConfig(), run / "corrections").version


def test_versions_are_found_and_misspelt_ones_refused(run: Path) -> None:
    assert versions(run) == []
    version = version_of(run)
    (run / "corrections" / ".half-made").mkdir()
    assert versions(run) == [version]
    assert corrections_of(run, version).version == version
    for name in (version[:-1], "../corrections", ""):
        with pytest.raises(UnknownNameError, match="version of corrections in a"):
            corrections_of(run, name)
    assert refined(run, version) is None
    with pytest.raises(WovrError, match="not been refined"):
        imagine_again(RunData(run), RunData(run).rollout("r-false"), version)
    with pytest.raises(WovrError):
        refine(run, version)  # a run that never trained anything


def test_the_job_is_typed_and_names_no_path(run: Path) -> None:
    spec = job_of("a", version_of(run))
    spec.check()
    assert JobSpec.from_json(spec.to_json()) == spec
    argv = spec.argv()
    assert argv[-4:] == ["refine", "a", "--corrections", spec.parameters["corrections"]]
    assert key_of("a", "x") != key_of("b", "x")
    with pytest.raises(WovrError, match="not a path"):
        job_of("a", "../../etc")
    with pytest.raises(WovrError, match="needs the parameter corrections"):
        JobSpec("refine_corrected", "a").check()


def test_a_rollout_imagined_again_is_judged_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its success is that of the new pictures, not the one that it was imagined with before."""

    class Doubting:
        """What was a success is none any more."""

        config = SimpleNamespace(success_threshold=0.5)

        def reset(self, keyframes: list[Keyframe], seeds: list[int]) -> Any:
            return SimpleNamespace(frames=torch.zeros(1, 16, 16, 3, dtype=torch.uint8), p_success=torch.zeros(1))

        def step(self, actions: torch.Tensor) -> Any:
            frames = torch.zeros(1, CHUNK, 16, 16, 3, dtype=torch.uint8)
            return SimpleNamespace(frames=frames, p_success=torch.full((1, CHUNK), 0.2))

    monkeypatch.setattr("workbench.retrain.make_env", lambda *_: Doubting())
    version = version_of(run)
    write_json(run / stage_of(version) / "outputs.json", {"outputs": {}, "seconds": 1.0})
    write_json(run / "imagine" / "config.json", {"config": {"solver_steps": 2, "discount": 0.9}})
    data = RunData(run)
    before = data.rollout("r-false")
    after = imagine_again(data, before, version)
    assert before.imagined_success
    assert not after.imagined_success
    assert after.loss_mask.all()
    badges = [badge["text"] for badge in before_and_after(before, after).meta["badges"]]
    assert badges == ["before: success", "after: no success"]


def test_before_and_after_stand_side_by_side(
    make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    before = make_rollout("r", success_at=12, size=16)
    before = replace(before, frames=before.frames // 2)
    moved = before.frames.copy()
    moved[10:] += 20
    after = replace(make_rollout("r-again", success_at=None, size=16), frames=moved)
    real = replace(make_episode("r", length=32, size=16), frames=moved)
    payload = before_and_after(before, after, real)
    meta = payload.meta
    assert [pane["title"] for pane in meta["panes"]] == ["imagined before", "imagined after", "|after - before|"]
    assert not meta["can_edit"]
    curves = {curve["title"]: curve for curve in meta["curves"]}
    gap = np.abs(moved.astype(float) - before.frames).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(curves["after - before"]["values"], gap, atol=1e-3)
    np.testing.assert_allclose(curves["before - real"]["values"], gap, atol=1e-3)
    np.testing.assert_allclose(curves["after - real"]["values"], 0, atol=1e-3)
    np.testing.assert_allclose(curves["p success, before"]["values"], before.p_success, atol=1e-4)
    np.testing.assert_allclose(curves["p success, after"]["values"], after.p_success, atol=1e-4)
    badges = {badge["text"]: badge["tone"] for badge in meta["badges"]}
    assert badges["before: success"] == badges["after: no success"] == ""
    assert badges[f"off reality by {gap.mean():.1f} before, 0.0 after (of 255)"] == "good"
    alone = {curve["title"] for curve in before_and_after(before, after).meta["curves"]}
    assert alone == {"after - before", "p success, before", "p success, after"}
