"""Which groups of rollouts teach something."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wovr_core.config import override
from wovr_core.data.segments import keyframe
from wovr_core.errors import WovrError
from wovr_core.model_files import POLICY, save_model
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.recipes import check, smoke
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.stages import train_policy_rl
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.train_policy_rl import PolicyRLConfig, PolicyRLInputs, batch_loss, is_informative
from wovr_core.types import RolloutGroup


@pytest.mark.parametrize(("promises", "taught"), [((0.5, 0.5), False), ((0.5, 0.6), False), ((0.2, 0.6), True)])
def test_promises_far_enough_apart_teach_where_nobody_succeeds(make_rollout, promises, taught):
    rollouts = [replace(make_rollout(f"r{i}"), p_outcome=np.full(5, p, np.float32)) for i, p in enumerate(promises)]
    config = PolicyRLConfig(outcome_worth=1.0, least_spread=0.15, discount=0.999)
    batch = of_rollouts(RolloutGroup("g", tuple(rollouts)), outcome_worth=1.0, discount=0.999)
    assert is_informative(batch, config) == taught
    plain = of_rollouts(RolloutGroup("g", tuple(rollouts)))
    assert not is_informative(plain, PolicyRLConfig())


def test_the_penalty_counts_from_the_policy_that_practice_began_with(make_rollout):
    small = TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32)
    policy, other = (build(small, seed=seed).eval() for seed in (0, 1))
    group = RolloutGroup("g", (make_rollout("won", size=16, success_at=12), make_rollout("lost", size=16)))
    batch, config = of_rollouts(group), PolicyRLConfig(reference_weight=0.5)
    free, _ = batch_loss(policy, batch, PolicyRLConfig())
    before, others = (train_policy_rl._log_probs(p, batch, 1.0).detach() for p in (policy, other))
    at_rest, metrics = batch_loss(policy, batch, config, reference=before)
    assert metrics["reference_kl"] == pytest.approx(0, abs=1e-6)
    assert float(at_rest.detach()) == pytest.approx(float(free.detach()), abs=1e-6)
    drawn_back, metrics = batch_loss(policy, batch, config, reference=others)
    assert metrics["reference_kl"] > 0
    assert float((drawn_back - free).detach()) == pytest.approx(0.5 * metrics["reference_kl"], rel=1e-4)


def test_promises_need_a_classifier_that_makes_them():
    recipe = smoke()
    with pytest.raises(WovrError, match=r"reward\.model\.outcome=true"):
        check(replace(recipe, rl=replace(recipe.rl, outcome_worth=1.0)))
    predicting = replace(recipe.reward, model=replace(recipe.reward.model, outcome=True))
    check(replace(recipe, reward=predicting, rl=replace(recipe.rl, outcome_worth=1.0)))


def test_a_correlation_out_of_bounds_is_refused_before_anything_runs():
    with pytest.raises(WovrError, match=r"rl\.correlation must lie in \[0, 1\)"):
        override(smoke(), ["rl.correlation=1"])
    assert override(smoke(), ["rl.correlation=0.7", "rl.shared_noise=true"]).rl.correlation == 0.7


def test_groups_are_imagined_as_the_recipe_says(tmp_path, monkeypatch, make_episode):
    asked = {}

    def stop(*args, **kwargs):
        asked.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr(train_policy_rl, "imagine_groups", stop)
    monkeypatch.setattr(train_policy_rl, "make_env", lambda *args: SimpleNamespace(model=torch.nn.Identity()))
    start = keyframe(make_episode(size=16), 12, "contact")
    monkeypatch.setattr(train_policy_rl, "read_keyframes", lambda path: [start])
    monkeypatch.setattr(train_policy_rl, "draw_keyframes", lambda *args: [])
    policy = build(TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32))
    paths = [tmp_path / name for name in ("policy", "world_model", "reward")]
    for path in paths:
        save_model(path, POLICY, policy, lineage={})
    inputs = PolicyRLInputs(Simulator(*paths), "keyframes", "version", 0)
    for correlation, shared in ((None, None), (0.7, True)):
        config = PolicyRLConfig(correlation=correlation, shared_noise=shared)
        with pytest.raises(InterruptedError):
            train_policy_rl.run(config, inputs, tmp_path / f"rl{correlation}")
        assert (asked["correlation"], asked["shared_noise"]) == (correlation or 0.0, bool(shared))


def test_spread_and_mean_are_those_of_all_groups(make_rollout):
    policy = build(TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32)).eval()
    groups = [
        RolloutGroup("a", (make_rollout("a1", size=16, success_at=12), make_rollout("a2", size=16))),
        RolloutGroup("b", (make_rollout("b1", size=16), make_rollout("b2", size=16))),  # dropped
    ]
    batches = [of_rollouts(group) for group in groups]
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
    metrics = train_policy_rl.learn(policy, optimizer, batches, PolicyRLConfig(epochs=1), train_policy_rl.GroupTally())
    won = float(groups[0].rewards.max())
    assert metrics["informative_groups"] == 1
    assert metrics["group_return"] == pytest.approx(won / 4)
    assert metrics["group_spread"] == pytest.approx(won / 4)  # half a group's difference, and zero, halved


def test_only_what_has_blocks_is_compiled():
    plain = torch.nn.Linear(2, 2)  # a plug-in's world model
    with train_policy_rl._compiled(plain, False):
        pass
    with pytest.raises(WovrError, match=r"Linear has no transformer .* unset rl\.compile"):
        train_policy_rl._compiled(plain, True)
