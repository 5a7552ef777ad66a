"""Real episodes that join practice in imagination."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.config import override
from wovr_core.data.episode_files import write_episode
from wovr_core.errors import WovrError
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.recipes import smoke
from wovr_core.rl.group_batch import of_episodes, of_rollouts
from wovr_core.stages.rl_real import RealEpisodes, RealFolders
from wovr_core.stages.train_policy_rl import GroupTally, PolicyRLConfig, batch_loss, learn, real_folders
from wovr_core.types import Episode, RolloutGroup

SMALL = TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32)


@pytest.fixture
def acted(make_episode):
    """An episode that records what a policy drew."""

    def make(name: str, success_at: int | None = None, task: int = 0) -> Episode:
        episode = make_episode(name, length=16, success_at=success_at, size=16)
        drawn = np.random.default_rng(0).integers(0, 65, (2, 8, 7))
        tokens = {"action_tokens": drawn, "log_probs": np.full((2, 8, 7), -4.0, np.float32)}
        return replace(episode, task=replace(episode.task, task=task), source="policy", **tokens)

    return make


@pytest.fixture
def folders(tmp_path, acted, make_episode) -> list[str]:
    """Two folders: seven episodes of two tasks, a demonstration among them; two later ones of the first task."""
    for i in range(4):
        write_episode(tmp_path / "base", acted(f"a{i}", success_at=9 if i % 2 else None))
    for i in range(3):
        write_episode(tmp_path / "base", acted(f"b{i}", task=1))
    write_episode(tmp_path / "base", make_episode("demonstration", length=16, success_at=9, size=16))
    for i in range(2):
        write_episode(tmp_path / "new", acted(f"c{i}", success_at=9))
    return [str(tmp_path / "base"), str(tmp_path / "new")]


def test_there_is_a_group_for_each_task_and_folder_of_what_a_policy_drew(folders):
    real = RealEpisodes(folders, 3, 0.99, True, seed=0)
    groups = real.batches(0)
    assert [len(batch.returns) for batch in groups] == [3, 3, 2]
    assert (groups[1].returns == 0).all()  # the other task never succeeded
    assert torch.allclose(groups[2].returns, torch.full((2,), 0.99**8))  # success at action 9


def test_an_update_draws_the_same_again_and_others_draw_otherwise(folders):
    real = RealEpisodes(folders, 2, 0.99, True, seed=0)
    drawn = [real.batches(update)[0].previous_actions for update in range(6)]
    assert torch.equal(drawn[3], RealEpisodes(folders, 2, 0.99, True, seed=0).batches(3)[0].previous_actions)
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_demonstrations_alone_cannot_join(tmp_path, make_episode):
    write_episode(tmp_path / "demos", make_episode(size=16))
    with pytest.raises(WovrError, match=r"record the policy's tokens; there is none in .*demos"):
        RealEpisodes([str(tmp_path / "demos")], 4, 0.99, True, seed=0)


def test_they_weigh_together_what_the_recipe_says(make_rollout, acted):
    groups = [
        RolloutGroup(n, (make_rollout(f"{n}1", size=16, success_at=12), make_rollout(f"{n}2", size=16))) for n in "xy"
    ]
    imagined = [of_rollouts(group) for group in groups]
    real = [of_episodes([acted("won", 9), acted("lost")], 0.99)]
    config = PolicyRLConfig(epochs=1, real_weight=0.5)

    policy = build(SMALL).eval()
    expected = (
        sum(batch_loss(policy, b, config)[0] for b in imagined) / 2 + 0.5 * batch_loss(policy, real[0], config)[0]
    )
    gradients = torch.autograd.grad(expected, list(policy.parameters()))
    norm = torch.stack([g.norm() for g in gradients]).norm()
    assert norm < 1  # nothing is clipped
    before = [p.detach().clone() for p in policy.parameters()]
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    metrics = learn(policy, optimizer, imagined, config, GroupTally(), real=real)
    for old, new, gradient in zip(before, policy.parameters(), gradients, strict=True):
        assert torch.allclose(old - gradient, new, atol=1e-6)
    assert metrics["real_return_mean"] == pytest.approx(0.99**8 / 2)
    assert metrics["informative_groups"] == 2


def test_where_imagination_teaches_nothing_they_still_do(make_rollout, acted):
    same = of_rollouts(RolloutGroup("g", (make_rollout("a", size=16), make_rollout("b", size=16))))
    real = [of_episodes([acted("won", 9), acted("lost")], 0.99)]
    policy = build(SMALL).eval()
    before = policy.head.weight.detach().clone()
    config = PolicyRLConfig(epochs=1, real_weight=1.0)
    metrics = learn(policy, torch.optim.SGD(policy.parameters(), lr=1.0), [same], config, GroupTally(), real=real)
    assert metrics["informative_groups"] == 0
    assert not torch.equal(before, policy.head.weight)


def test_practice_depends_on_them_only_where_it_reads_them():
    assert real_folders(PolicyRLConfig(), ["a"], ["1"]) is None
    assert real_folders(PolicyRLConfig(real_weight=1.0), ["a"], ["1"]) == RealFolders(("a",), ("1",))


@pytest.mark.parametrize("wrong", ["rl.real_weight=-1", "rl.real_episodes=1"])
def test_senseless_settings_are_refused_before_anything_runs(wrong):
    with pytest.raises(WovrError, match=wrong.split("=")[0].replace(".", r"\.")):
        override(smoke(), [wrong])
