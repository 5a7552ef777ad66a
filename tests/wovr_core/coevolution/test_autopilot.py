"""Drift, the decision, and the ledger."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from wovr_core.coevolution.autopilot import AutopilotConfig, Ledger, decide, wants_probe
from wovr_core.coevolution.drift import action_drift, probe_set
from wovr_core.errors import WovrError
from wovr_core.policy.base import ActionChunk

CONFIG = AutopilotConfig(budget=20, probe_drift=0.05, drift=0.2, error_growth=1.2)


@dataclass
class Coin:
    """Every token is 1 with probability p, else 0."""

    p: float

    def act(self, frames, instructions, previous_actions, *, temperature=0.0, generator=None):
        tokens = (torch.rand(len(frames), 8, 7, generator=generator) < self.p).long()
        log_probs = self.log_prob(frames, instructions, previous_actions, tokens)
        return ActionChunk(tokens.float(), tokens, log_probs)

    def log_prob(self, frames, instructions, previous_actions, tokens, *, temperature=1.0):
        return torch.where(tokens == 1, math.log(self.p), math.log(1 - self.p))


def test_drift_is_the_symmetric_divergence(make_episode):
    probe = probe_set([make_episode("a"), make_episode("b")], 50, seed=1)
    assert action_drift(Coin(0.3), Coin(0.3), probe) == 0
    p, q = 0.3, 0.6
    exact = (p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q))
    found = action_drift(Coin(p), Coin(q), probe, samples=20)
    assert found == pytest.approx(exact, rel=0.05)
    assert found == action_drift(Coin(p), Coin(q), probe, samples=20)
    assert action_drift(Coin(q), Coin(p), probe, samples=20) == pytest.approx(exact, rel=0.05)


def test_probes_are_observations_as_the_policy_met_them(make_episode):
    episode = make_episode("a", length=24)
    probe = probe_set([episode], 12, seed=2)
    for frame, previous in zip(probe.frames, probe.previous_actions, strict=True):
        step = int(frame[0, 0, 0])  # frames carry their number
        expected = episode.actions[step - 1] if step else [0, 0, 0, 0, 0, 0, -1]
        np.testing.assert_array_equal(previous, np.asarray(expected, np.float32))
    with pytest.raises(WovrError, match="at least one"):
        probe_set([], 4, seed=0)


@pytest.mark.parametrize(
    ("drift", "error", "baseline", "left", "action", "why"),
    [
        (0.1, 5.0, 5.0, 20, "wait", "error grew by 1.00"),
        (0.1, 6.1, 5.0, 20, "refine", "error grew by 1.22"),
        (0.1, 6.1, None, 20, "wait", "drift 0.100"),
        (0.3, None, 5.0, 20, "refine", "drift 0.300"),
        (0.3, 6.1, 5.0, 9, "wait", "10 real episodes are needed and 9 are left"),
    ],
)
def test_it_refines_on_drift_or_error_within_the_budget(drift, error, baseline, left, action, why):
    decision = decide(drift, error, baseline, left, 10, CONFIG)
    assert decision.action == action
    assert why in decision.reason


def test_real_episodes_are_spent_on_looking_only_where_the_policy_has_moved():
    assert wants_probe(0.06, 5, 2, CONFIG)
    assert not wants_probe(0.04, 5, 2, CONFIG)
    assert not wants_probe(0.06, 1, 2, CONFIG)
    with pytest.raises(WovrError, match="probe_drift <= drift"):
        AutopilotConfig(probe_drift=0.3, drift=0.2)


def test_the_ledger_takes_each_round_once(tmp_path):
    ledger = Ledger(tmp_path / "autopilot.jsonl")
    ledger.add({"round": 1, "action": "wait"})
    ledger.add({"round": 2, "action": "refine"})
    ledger.add({"round": 1, "action": "wait"})
    assert [e["round"] for e in Ledger(ledger.path).entries()] == [1, 2]
    with pytest.raises(WovrError, match="another round 2"):
        ledger.add({"round": 2, "action": "wait"})
    ledger.path.write_text("{")
    with pytest.raises(WovrError, match="no ledger"):
        ledger.entries()
