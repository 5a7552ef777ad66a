"""How a source's pictures, actions and tasks become ours, one convention at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wovr_core.data.formats.base import Clip, Conventions, ForeignFileError
from wovr_core.data.formats.conventions import read_statistics, to_episode
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import TaskId


def test_conventions_are_applied_one_by_one() -> None:
    frames = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)
    actions = np.arange(35, dtype=np.float32).reshape(5, 7) / 35
    clip = Clip("k", frames, actions, "x", task=1, success=3, fps=20)

    def made(**what: object) -> object:
        return to_episode(clip, Conventions(**what))  # type: ignore[arg-type]

    np.testing.assert_array_equal(made(rotate=True).frames, frames[:, ::-1, ::-1])
    np.testing.assert_array_equal(made(flip=True).frames, frames[:, ::-1])
    np.testing.assert_array_equal(made(flip=True, rotate=True).frames, frames[:, :, ::-1])
    np.testing.assert_array_equal(made(bgr=True).frames, frames[..., ::-1])
    np.testing.assert_array_equal(made().actions, actions[:4])
    np.testing.assert_array_equal(made(shift_actions=1).actions, actions[1:])
    np.testing.assert_allclose(made(gripper_sign=-1).actions[:, 6], -actions[:4, 6])
    np.testing.assert_allclose(made(gripper_01=True).actions[:, 6], 2 * actions[:4, 6] - 1)
    assert made(size=16).frames.shape == (5, 16, 16, 3)
    thinned = made(fps=40)
    np.testing.assert_array_equal(thinned.frames, frames[::2])
    np.testing.assert_allclose(thinned.actions[:, :6], actions[:4:2, :6] + actions[1:4:2, :6], rtol=1e-6)
    np.testing.assert_array_equal(thinned.actions[:, 6], actions[1:4:2, 6])
    assert thinned.success.tolist() == [False, False, True]
    with pytest.raises(ForeignFileError, match="--fps 20"):
        made(fps=10)


def test_normalised_actions_are_restored(tmp_path: Path) -> None:
    low, high = np.linspace(-0.9, -0.3, 7), np.linspace(0.2, 0.8, 7)
    raw = np.random.default_rng(0).uniform(low, high, (4, 7)).astype(np.float32)
    normal = 2 * (raw - low) / (high - low) - 1
    normal[:, 6] = raw[:, 6]
    stats = {"action": {"q01": low.tolist(), "q99": high.tolist(), "mask": [True] * 6 + [False]}}
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"libero": stats, "other": stats}))
    with pytest.raises(WovrError, match="--stats-key"):
        read_statistics(path)
    found = read_statistics(path, "libero")
    np.testing.assert_allclose(found.restore(normal.astype(np.float32)), raw, atol=1e-6)


def test_tasks_are_found_by_their_words_and_by_number() -> None:
    tasks = [TaskId("s", 0, "push the plate"), TaskId("s", 1, "open the drawer")]
    clip = Clip("k", np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 7), np.float32), "Open  the drawer.", task=0)
    assert to_episode(clip, Conventions(), tasks).task == tasks[1]
    silent = replace(clip, instruction="")
    assert to_episode(silent, Conventions(), tasks).task == tasks[0]
    assert to_episode(silent, Conventions(alphabetical=True), tasks).task == tasks[1]
    with pytest.raises(UnknownNameError, match="did you mean 'open the drawer'"):
        to_episode(replace(clip, instruction="open the drawers now"), Conventions(), tasks)
