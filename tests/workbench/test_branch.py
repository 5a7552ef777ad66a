"""A rollout imagined again with one chunk changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tally import Tally
from workbench.branch import branch, keyframe_of, reopen, side_by_side
from workbench.run_data import RunData
from wovr_core.errors import WovrError
from wovr_core.imagination import imagine_actions
from wovr_core.types import CHUNK, Rollout


@pytest.fixture
def original(make_rollout: Callable[..., Rollout]) -> Rollout:
    """Imagined by Tally from actions that stay at zero."""
    rollout = make_rollout("r", chunks=4)
    actions = np.zeros_like(rollout.actions)
    frames, p_success = imagine_actions(Tally(), keyframe_of(rollout), actions, rollout.sampler_seed)  # type: ignore[arg-type]
    return replace(rollout, actions=actions, frames=frames, p_success=p_success)


def test_the_rollouts_own_actions_and_seed_give_the_rollout_again(original: Rollout) -> None:
    again = branch(Tally(), original, 2, original.actions[16:24])  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.frames, original.frames)
    assert original.frames.shape == (33, 8, 8, 3)
    np.testing.assert_array_equal(original.frames[0], original.context_frames[-1])


def test_only_what_follows_the_changed_chunk_changes(original: Rollout) -> None:
    push = np.zeros((CHUNK, 7), np.float32)
    push[:, 0] = 1.0
    other = branch(Tally(), original, 2, push, discount=0.9)  # type: ignore[arg-type]
    np.testing.assert_array_equal(other.frames[:17], original.frames[:17])
    # Same noise: what differs is exactly what the actions did, ten levels a step, then no more.
    change = (other.frames[17:].astype(int) - original.frames[17:])[:, 0, 0, 0]
    np.testing.assert_array_equal(change, [*range(10, 90, 10), *[80] * 8])
    np.testing.assert_array_equal(other.actions[16:24], push)
    np.testing.assert_array_equal(
        np.delete(other.actions, range(16, 24), 0), np.delete(original.actions, range(16, 24), 0)
    )
    # p reaches 0.5 with the fifth action of the chunk, the 21st of all.
    assert other.reward == pytest.approx(0.9**20)
    assert other.loss_mask.sum() == 21
    assert (other.action_tokens[2] == -1).all()
    np.testing.assert_array_equal(other.action_tokens[[0, 1, 3]], original.action_tokens[[0, 1, 3]])
    assert np.isnan(other.log_probs[2:]).all()
    np.testing.assert_array_equal(other.log_probs[:2], original.log_probs[:2])
    assert other.info["branch_of"] == "r"
    assert other.id != original.id
    assert other.id != branch(Tally(), original, 2, push * 0.5).id  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused(original: Rollout) -> None:
    for chunk, actions, match in (
        (4, np.zeros((8, 7), np.float32), "chunks 0 to 3, not 4"),
        (-1, np.zeros((8, 7), np.float32), "not -1"),
        (0, np.zeros((7, 7), np.float32), "shape"),
    ):
        with pytest.raises(WovrError, match=match):
            branch(Tally(), original, chunk, actions)  # type: ignore[arg-type]
    for actions in (np.zeros((0, 7), np.float32), np.zeros((9, 7), np.float32), np.zeros(8, np.float32)):
        with pytest.raises(WovrError, match="actions must be"):
            imagine_actions(Tally(), keyframe_of(original), actions, 0)  # type: ignore[arg-type]


def test_side_by_side_shows_both_and_starts_at_the_change(original: Rollout) -> None:
    push = np.ones((CHUNK, 7), np.float32)
    other = branch(Tally(), original, 1, push)  # type: ignore[arg-type]
    meta = side_by_side(original, other).meta
    assert [pane["title"] for pane in meta["panes"]] == ["original", "branch", "|branch - original|"]
    assert meta["frame"] == CHUNK
    assert meta["id"] == other.id
    curves = {curve["title"]: curve for curve in meta["curves"]}
    assert set(curves) == {"difference", "p success", "p, original"}
    np.testing.assert_allclose(curves["p, original"]["values"], original.p_success, atol=1e-4)
    difference = np.abs(other.frames.astype(float) - original.frames).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(curves["difference"]["values"], difference, atol=1e-3)
    assert "really failed" not in str(meta["badges"]), "a branch has no real outcome"


def test_a_real_run_imagines_its_rollouts_again(smoke_run: Path, tmp_path: Path) -> None:
    data = RunData(smoke_run)
    rollout = data.rollout(data.audit_rows()[0]["rollout_id"])
    env = reopen(data, rollout)
    frames, p_success = imagine_actions(env, keyframe_of(rollout), rollout.actions, rollout.sampler_seed)
    gap = np.abs(frames.astype(int) - rollout.frames)
    assert gap.max() <= 8
    assert gap.mean() < 0.5
    np.testing.assert_allclose(p_success, rollout.p_success, atol=0.02)
    with pytest.raises(WovrError, match="no longer holds the world model"):
        reopen(data, replace(rollout, versions=rollout.versions | {"world_model": "gone"}))
