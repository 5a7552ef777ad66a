"""Corrections in masked GRPO: replayed groups, and bounded starts."""

from dataclasses import replace

import numpy as np
import pytest

from wovr_core.data.corrections import Correction, Corrections, CorrectionSet, Horizon, reference_of, write_corrections
from wovr_core.data.episode_files import write_rollout
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.stages.rl_corrections import RLCorrections, believed_until
from wovr_core.types import RolloutGroup, Start


@pytest.fixture
def group(make_rollout):
    rollouts = (make_rollout("a", success_at=12), make_rollout("b", success_at=20), make_rollout("c"))
    return RolloutGroup("g0", rollouts)


@pytest.fixture
def corrections(tmp_path, group) -> CorrectionSet:
    paths = {r.id: write_rollout(tmp_path / "r", r) for r in group.rollouts}
    horizon = Horizon(reference_of(group.rollouts[0].context_frames[0]), 5, 14)
    content = Corrections((Correction("a", masked_from=9),), (horizon,))
    return write_corrections(tmp_path / "c", content, paths, {})


def test_a_hallucinated_success_is_masked_and_earns_nothing(group):
    a = group.rollouts[0]
    cut = believed_until(a, 9)
    assert cut.reward == 0
    assert cut.loss_mask.sum() == 8
    assert a.loss_mask.sum() == 12
    assert a.reward > 0
    later = believed_until(a, 20)
    assert later.reward == a.reward
    assert np.array_equal(later.loss_mask, a.loss_mask)
    assert believed_until(a, 12).reward == 0  # the success itself is the flagged frame
    promised = replace(a, p_outcome=np.arange(5, dtype=np.float32))
    assert believed_until(promised, 9).p_outcome.tolist() == [0, 1]  # frame 8 is the last chunk's end before it
    assert believed_until(promised, 8).p_outcome.tolist() == [0]


def test_the_groups_join_the_first_update_of_the_policy_that_acted(corrections):
    replayed = list(RLCorrections(corrections, "p1").replayed(0))
    assert [r.id for r in replayed[0].rollouts] == ["a", "b", "c"]
    batch = of_rollouts(replayed[0])
    assert batch.returns[0] == 0
    assert batch.returns[1] > 0
    assert batch.loss_mask.sum(dim=(1, 2)).tolist() == [8, 20, 32]
    assert not list(RLCorrections(corrections, "p1").replayed(1))
    assert not list(RLCorrections(corrections, "another").replayed(0))
    assert not list(RLCorrections(None, "p1").replayed(0))


def test_fresh_rollouts_from_near_the_start_are_bounded_at_the_same_instant(corrections, group):
    rl = RLCorrections(corrections, "p1")
    bounded = rl.bound([group])[0].rollouts
    assert [r.loss_mask.sum() for r in bounded] == [12, 13, 13]  # frame 14 of the start is not believed
    assert [r.reward > 0 for r in bounded] == [True, False, False]
    assert rl.bounded == 3
    shifted = RolloutGroup("g1", tuple(replace(r, start=Start("e0", 9)) for r in group.rollouts))
    assert [r.loss_mask.sum() for r in rl.bound([shifted])[0].rollouts] == [9, 9, 9]
    far = RolloutGroup("g2", tuple(replace(r, start=Start("e0", 40)) for r in group.rollouts))
    other = tuple(replace(r, context_frames=r.context_frames ^ 1) for r in group.rollouts)
    for untouched in (far, RolloutGroup("g3", other)):
        assert rl.bound([untouched])[0] is untouched
    assert RLCorrections(None, "p1").bound([group])[0] is group
