"""Which groups of rollouts teach something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.recipes import check, smoke
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.stages.train_policy_rl import PolicyRLConfig, is_informative
from wovr_core.types import RolloutGroup


@pytest.mark.parametrize(("promises", "taught"), [((0.5, 0.5), False), ((0.5, 0.6), False), ((0.2, 0.6), True)])
def test_promises_far_enough_apart_teach_where_nobody_succeeds(make_rollout, promises, taught):
    rollouts = [replace(make_rollout(f"r{i}"), p_outcome=np.full(5, p, np.float32)) for i, p in enumerate(promises)]
    config = PolicyRLConfig(outcome_worth=1.0, least_spread=0.15, discount=0.999)
    batch = of_rollouts(RolloutGroup("g", tuple(rollouts)), outcome_worth=1.0, discount=0.999)
    assert is_informative(batch, config) == taught
    plain = of_rollouts(RolloutGroup("g", tuple(rollouts)))
    assert not is_informative(plain, PolicyRLConfig())


def test_promises_need_a_classifier_that_makes_them():
    recipe = smoke()
    with pytest.raises(WovrError, match=r"reward\.model\.outcome=true"):
        check(replace(recipe, rl=replace(recipe.rl, outcome_worth=1.0)))
    predicting = replace(recipe.reward, model=replace(recipe.reward.model, outcome=True))
    check(replace(recipe, reward=predicting, rl=replace(recipe.rl, outcome_worth=1.0)))
