"""What a fork shares with its original, what it changes, and what cannot be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workbench.forks.imagine import Cancelled, imagine_fork
from workbench.forks.plan import Plan, PlanError, chunk_at, parse_plan
from wovr_core.errors import UnknownNameError
from wovr_core.types import CHUNK, Rollout

PUSH = np.tile(np.array([1, 0, 0, 0, 0, 0, -1], np.float32), (CHUNK, 1))


def test_the_same_actions_give_the_rollout_again(original: Rollout, tally: Callable[..., Any]) -> None:
    plan = Plan(1, 3, "edit", "original", original.actions[8:16])
    fork = imagine_fork(tally(), None, original, plan)
    np.testing.assert_array_equal(fork.rollout.frames, original.frames)
    assert fork.prefix_difference == 0
    assert fork.rollout.id != original.id
    assert fork.rollout.info["branch_of"] == original.id


def test_an_edit_changes_exactly_what_follows(original: Rollout, tally: Callable[..., Any]) -> None:
    told: list[tuple[int, int]] = []
    plan = Plan(1, 3, "edit", "original", PUSH)
    fork = imagine_fork(tally(), None, original, plan, author="ann", on_chunk=lambda d, t: told.append((d, t)))
    new = fork.rollout
    np.testing.assert_array_equal(new.frames[:9], original.frames[:9])
    change = (new.frames[9:].astype(int) - original.frames[9:])[:, 0, 0, 0]
    np.testing.assert_array_equal(change, [10, 20, 30, 40, 50, 60, 70, 80, *[80] * 16])
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # p reaches 0.5 with the fifth pushed action, the 13th of all; no policy sampled the chunk.
    assert new.loss_mask.sum() == 13
    assert new.reward == pytest.approx(0.995**12)
    assert (new.action_tokens[1] == -1).all()
    np.testing.assert_array_equal(new.action_tokens[2], original.action_tokens[2])
    assert np.isnan(new.log_probs[1:]).all()
    np.testing.assert_array_equal(new.log_probs[0], original.log_probs[0])
    assert new.info["branch_by"] == "ann"


def test_the_policy_draws_by_its_seed_and_may_go_on_past_the_end(
    original: Rollout, tally: Callable[..., Any], pusher: Any
) -> None:
    plan = Plan(4, 2, "policy", "policy", None, temperature=5.0, seed=3)
    first, again = (imagine_fork(tally(), pusher, original, plan).rollout for _ in range(2))
    other = imagine_fork(tally(), pusher, original, Plan(4, 2, "policy", "policy", None, 5.0, 4)).rollout
    assert len(first.actions) == 6 * CHUNK
    np.testing.assert_array_equal(first.actions, again.actions)
    assert first.id == again.id
    assert not np.array_equal(first.actions, other.actions)
    np.testing.assert_array_equal(first.actions[:32], original.actions)
    assert (first.actions[32:, 0] >= 0.5).all()
    np.testing.assert_array_equal(first.log_probs[4:], -1)


def test_holding_still_keeps_the_gripper(original: Rollout, tally: Callable[..., Any]) -> None:
    closing = PUSH.copy()
    closing[:, 6] = 1
    fork = imagine_fork(tally(), None, original, Plan(0, 2, "edit", "still", closing)).rollout
    np.testing.assert_array_equal(fork.actions[8:, :6], 0)
    np.testing.assert_array_equal(fork.actions[8:, 6], 1)


def test_cancelling_stops_before_the_next_chunk(original: Rollout, tally: Callable[..., Any]) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        imagine_fork(
            tally(),
            None,
            original,
            Plan(0, 4, "edit", "original", PUSH),
            on_chunk=lambda d, _: done.append(d),
            stop=lambda: len(done) == 2,
        )
    assert done == [1, 2]


def test_what_cannot_be_imagined_is_refused(original: Rollout, tally: Callable[..., Any]) -> None:
    with pytest.raises(PlanError, match="policy that acted is no longer"):
        imagine_fork(tally(), None, original, Plan(0, 1, "policy", "original"))
    with pytest.raises(PlanError, match="imagine 2 chunks, not 3"):
        imagine_fork(tally(2), None, original, Plan(0, 3, "edit", "original", PUSH))


def test_the_next_chunk_is_the_one_that_is_not_decided_yet() -> None:
    assert [chunk_at(f) for f in (0, 1, 7, 8, 9, 32)] == [0, 1, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"frame": -1}, "frame must be a whole number from 0 to 32"),
        ({"frame": 33}, "frame must be"),
        ({"frame": True}, "frame must be"),
        ({"chunks": 17}, "chunks must be a whole number from 1 to 16"),
        ({"chunks": "4"}, "chunks must be"),
        ({"actions": [[0] * 7] * 7}, "8 rows of 7"),
        ({"actions": [[0] * 6] * 8}, "8 rows of 7"),
        ({"actions": [[2.0] * 7] * 8}, "from -1 to 1"),
        ({"actions": [[float("nan")] * 7] * 8}, "from -1 to 1"),
        ({"actions": "lift"}, "8 rows of 7"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": 9}, "temperature must be a number from 0 to 4"),
        ({"seed": 2**31}, "seed must be"),
        ({"afterwards": "original", "chunks": 5}, "the original has 4 chunks"),
    ],
)
def test_plans_of_browsers_are_checked(original: Rollout, change: dict[str, Any], match: str) -> None:
    message = {"frame": 8, "chunks": 2, "source": "edit", "afterwards": "policy", "actions": [[0.0] * 7] * 8}
    assert parse_plan(message, original).chunk == 1
    with pytest.raises(PlanError, match=match):
        parse_plan(message | change, original)
    with pytest.raises(UnknownNameError, match="did you mean 'policy'"):
        parse_plan(message | {"source": "polcy"}, original)
