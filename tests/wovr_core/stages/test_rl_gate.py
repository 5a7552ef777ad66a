"""The gate inside RL, with a stand-in for the simulator."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.audit.gate import GateConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import NotReplayableError, WovrError
from wovr_core.stages.rl_gate import GateSimulator, RLGate, shortened
from wovr_core.types import Keyframe, RolloutGroup, Start, TaskId

TASK = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket")
CONFIG = GateConfig(every=2, sample=3, bound=0.3, least=3, window=12, min_chunks=1)


class Simulator:
    """Answers replays: a rollout succeeds for real unless its id is among the false ones."""

    def __init__(self, make_episode, false=()):
        self.make_episode, self.false, self.jobs = make_episode, false, []

    def map(self, function, jobs, key=None):
        jobs = list(jobs)
        self.jobs += jobs
        for job in jobs:
            success_at = None if job.episode_id in self.false else len(job.actions)
            episode = self.make_episode(job.episode_id, length=len(job.actions), success_at=success_at)
            yield replace(episode, actions=job.actions)


def gate_of(simulator, config=CONFIG, tasks=(0,)):
    return RLGate(config, 4, tasks, GateSimulator(LiberoConfig(size=16), simulator), seed=5)


def group(make_rollout, success_at, count=4, name="g"):
    return RolloutGroup(name, tuple(make_rollout(f"{name}{i}", success_at=success_at) for i in range(count)))


def test_it_audits_now_and_then_and_no_more_than_its_sample(make_rollout, make_episode):
    simulator = Simulator(make_episode)
    gate = gate_of(simulator)
    groups = [group(make_rollout, 12), group(make_rollout, None, name="h")]
    assert gate.audit(0, groups) == {}
    metrics = gate.audit(1, groups)
    assert len(simulator.jobs) == 3 == gate.replays
    assert {len(job.actions) for job in simulator.jobs} == {20}  # the depth and a chunk more
    assert metrics["gate/0/false"] == 0
    assert gate.chunks == {0: 4}


def test_false_successes_shorten_and_then_stop(make_rollout, make_episode):
    deep, near = group(make_rollout, 30, 4, "d"), group(make_rollout, 6, 4, "n")
    simulator = Simulator(make_episode, false={r.id for r in deep.rollouts})
    gate = gate_of(simulator)
    gate.audit(1, [near])
    gate.audit(3, [deep])
    assert gate.chunks == {0: 3}  # 24 actions: the false ones came after 30
    admitted = gate.admit(deep)
    assert admitted.rollouts[0].frames.shape[0] == 25
    assert not admitted.rewards.any()  # what was imagined beyond the trusted depth is no success
    simulator.false = {r.id for r in near.rollouts}
    gate.audit(5, [near])
    assert gate.chunks == {0: 0}
    start = Keyframe(TASK, Start("e", 0), "initial", *(deep.rollouts[0].context_frames,) * 2, np.zeros(1))
    assert gate.open_keyframes([start]) == []


def test_a_keyframe_of_an_arm_cannot_be_gated(make_rollout, make_episode):
    rollout = make_rollout()
    start = Keyframe(TASK, Start("arm", 3), "contact", rollout.context_frames, rollout.context_actions)
    with pytest.raises(NotReplayableError, match=r"1 of 1 keyframes .*of arm.* set rl.gate.every=0"):
        gate_of(Simulator(make_episode)).open_keyframes([start])
    assert RLGate(GateConfig(), 4, (0,), None, 0).open_keyframes([start]) == [start]


def test_it_resumes_with_what_it_knew(make_rollout, make_episode):
    gate = gate_of(Simulator(make_episode, {"g0", "g1"}), tasks=(0, 3))
    gate.audit(1, [group(make_rollout, 12)])
    again = gate_of(Simulator(make_episode), tasks=(0, 3))
    again.load_state_dict(gate.state_dict())
    assert again.to_dict() == gate.to_dict()
    assert again.chunks == gate.chunks
    assert gate.to_dict()["0"]["depths"] == [12, 12, 12]


def test_off_it_needs_no_simulator(make_rollout):
    gate = RLGate(GateConfig(), 4, (0,), None, 0)
    assert gate.audit(1, [group(make_rollout, 12)]) == {}
    with pytest.raises(WovrError, match="no simulator"):
        RLGate(CONFIG, 4, (0,), None, 0)


@pytest.mark.parametrize(("success_at", "left"), [(12, True), (16, True), (17, False), (None, False)])
def test_a_shortened_rollout_forgets_later_successes(make_rollout, success_at, left):
    rollout = make_rollout(success_at=success_at)
    short = shortened(rollout, 2)
    assert (short.reward > 0) == left
    assert short.frames.shape[0] == 17
    assert short.p_success.shape == (17,)
    assert short.log_probs.shape == (2, 8, 7)
    assert short.loss_mask.sum() == min(success_at or 16, 16)
    np.testing.assert_array_equal(short.actions, rollout.actions[:16])
    assert shortened(rollout, 4) is rollout
    promised = replace(rollout, p_outcome=np.arange(5, dtype=np.float32))
    assert shortened(promised, 2).p_outcome.tolist() == [0, 1, 2]


def test_state_is_tensors(make_episode):
    assert all(isinstance(v, torch.Tensor) for v in gate_of(Simulator(make_episode)).state_dict().values())
