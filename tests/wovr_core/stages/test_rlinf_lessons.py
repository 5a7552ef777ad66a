"""RLinf's network learns a run's own classifier: its verdicts, its threshold, real and imagined pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wovr_core.data.episode_files import write_episode
from wovr_core.errors import WovrError
from wovr_core.reward.labels import LabelConfig
from wovr_core.reward.rlinf import from_state
from wovr_core.stages import rlinf_lessons, train_rlinf_reward
from wovr_core.stages.rlinf_lessons import Teacher, moved, true_lessons
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.stages.train_rlinf_reward import OwnClassifier, RlinfRewardConfig, RlinfRewardInputs, run
from wovr_core.world_model.rlinf import load_state

SIZE, THRESHOLD = 32, 0.3


@dataclass
class ByBrightness:
    """A classifier that calls bright pictures a success, whatever really happened."""

    bright: float = 0.4
    dark: float = 0.1

    def p_success(self, frames: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        assert len(frames) == len(embeddings)
        return torch.where(frames.float().mean(dim=(1, 2, 3)) > 100, self.bright, self.dark)


@dataclass
class Calibrated:
    threshold: float = THRESHOLD


@pytest.fixture
def classifier(monkeypatch):
    """Stands in for the checkpoints of a run; the world model draws every picture in the other brightness."""
    judge = ByBrightness()
    monkeypatch.setattr(rlinf_lessons, "load_reward", lambda path: (judge, Calibrated(), "r1"))
    monkeypatch.setattr(rlinf_lessons, "load_world_model", lambda path: (None, "w1"))
    monkeypatch.setattr(train_rlinf_reward, "version_of", lambda path: {"reward": "r1", "world_model": "w1"}[path.name])

    def drawn(model, episodes, training, seed):
        return [replace(episode, frames=255 - episode.frames) for episode in episodes]

    monkeypatch.setattr(rlinf_lessons, "as_imagined", drawn)
    return judge


@pytest.fixture
def episodes(make_episode):
    """Bright from frame 12 on; by the simulator never a success."""
    made = []
    for i in range(4):
        episode = make_episode(f"e{i}", length=20, close=3, release=9, size=SIZE)
        frames = np.random.default_rng(i).integers(0, 60, episode.frames.shape).astype(np.uint8)
        frames[12:] += 150
        made.append(replace(episode, frames=frames))
    return made


def teacher() -> Teacher:
    return Teacher(Path("reward"), Path("world_model"), RewardTrainingConfig(), seed=0)


def test_a_threshold_is_moved_and_the_order_kept():
    p = np.linspace(0, 1, 1001).astype(np.float32)
    for threshold in (0.02, 0.5, 0.97):
        targets = moved(p, threshold, 0.9)
        at = np.float32(threshold)
        assert moved(np.array([at]), float(at), 0.9)[0] == pytest.approx(0.9, abs=1e-6)
        assert (targets[p > threshold + 1e-3] > 0.9).all()
        assert (targets[p < threshold - 1e-3] < 0.9).all()
        assert (np.diff(targets) >= 0).all()
        assert ((targets >= 0) & (targets <= 1)).all()
    np.testing.assert_allclose(moved(p[1:-1], 0.5, 0.5), p[1:-1], atol=1e-5)


def test_lessons_are_the_verdicts_on_real_and_on_imagined_pictures(classifier, episodes):
    judged = teacher().both(episodes)
    assert len(judged) == 8
    for real, drawn in zip(judged[:4], judged[4:], strict=True):
        assert np.flatnonzero(real.success).tolist() == list(range(12, 21))
        assert np.flatnonzero(drawn.success).tolist() == list(range(12))  # the bright ones there
    lessons = teacher().lessons(judged, LabelConfig(), wanted=0.9)
    bright = lessons.frames.mean(axis=(1, 2, 3)) > 100
    np.testing.assert_allclose(lessons.targets[bright], 0.9333, atol=1e-4)  # odds of 0.4, times 9 / (0.3 / 0.7)
    np.testing.assert_allclose(lessons.targets[~bright], 0.7, atol=1e-4)
    assert lessons.odds[bright].sum() == pytest.approx(lessons.odds[~bright].sum())
    assert len(lessons.instructions) == len(lessons.frames)
    assert not any(episode.success.any() for episode in episodes)


def test_a_classifier_that_sees_no_success_cannot_teach(classifier, episodes):
    classifier.bright = 0.2
    with pytest.raises(WovrError, match=r"cannot teach on these episodes: .*no successful one"):
        teacher().lessons(teacher().both(episodes), LabelConfig(), wanted=0.9)
    with pytest.raises(WovrError, match="no successful one"):
        true_lessons(episodes, LabelConfig())


@pytest.mark.slow
def test_the_network_follows_the_classifier_and_not_the_simulator(classifier, episodes, tmp_path):
    for episode in episodes:
        write_episode(tmp_path / "episodes", episode)
    config = RlinfRewardConfig(steps=30, batch=8, held_out=1, learning_rate=1e-3)
    own = OwnClassifier(Path("reward"), Path("world_model"), RewardTrainingConfig())
    inputs = RlinfRewardInputs((str(tmp_path / "episodes"),), ("v",), seed=0, teacher=own)
    done = run(config, inputs, tmp_path / "out")
    assert done.teacher == "r1,w1"
    assert done.teacher_positives is not None
    assert done.teacher_negatives is not None
    assert done.teacher_positives >= done.teacher_negatives
    model = from_state(load_state(tmp_path / "out" / done.reward))
    frames = torch.from_numpy(np.concatenate([episodes[0].frames, 255 - episodes[0].frames]))
    bright = frames.float().mean(dim=(1, 2, 3)) > 100
    with torch.no_grad():
        p = model(frames)
    assert p[bright].mean() == pytest.approx(0.93, abs=0.07)
    assert p[~bright].mean() == pytest.approx(0.70, abs=0.1)
    assert run(config, inputs, tmp_path / "out") == done
