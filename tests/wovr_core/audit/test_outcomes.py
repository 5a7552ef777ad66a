import dataclasses

import numpy as np
import pytest

from wovr_core.audit.outcomes import audit_rollout, frame_divergence, imagined_success_step, summarise
from wovr_core.types import Episode


def real(rollout, success_at=None, shift=0):
    success = np.zeros(len(rollout.frames), bool)
    if success_at is not None:
        success[success_at:] = True
    frames = np.clip(rollout.frames.astype(int) + shift, 0, 255).astype(np.uint8)
    return Episode(
        id=rollout.id,
        task=rollout.task,
        seed=0,
        source="replay",
        frames=frames,
        actions=rollout.actions,
        success=success,
    )


def test_the_imagined_step_is_found_in_p_success(make_rollout):
    assert imagined_success_step(make_rollout(success_at=12)) == 12
    assert imagined_success_step(make_rollout()) is None


def test_a_start_over_the_threshold_is_no_imagined_success(make_rollout):
    rollout = make_rollout()
    p = rollout.p_success.copy()
    p[0] = 0.99
    assert imagined_success_step(dataclasses.replace(rollout, p_success=p)) is None


@pytest.mark.parametrize(
    ("imagined_at", "real_at", "outcome"),
    [
        (12, 12, (True, True)),
        (12, 20, (True, True)),  # within the tolerance of 8
        (12, 21, (True, False)),
        (12, 3, (True, True)),
        (None, 30, (False, True)),
        (None, None, (False, False)),
    ],
)
def test_outcomes(make_rollout, imagined_at, real_at, outcome):
    rollout = make_rollout(success_at=imagined_at)
    audited = audit_rollout(rollout, real(rollout, real_at), tolerance=8)
    assert (audited.imagined_success, audited.real_success) == outcome


def test_a_replay_of_other_actions_is_refused(make_rollout):
    rollout = make_rollout()
    other = dataclasses.replace(real(rollout), actions=rollout.actions + 1)
    with pytest.raises(ValueError, match="did not execute the actions"):
        audit_rollout(rollout, other)


def test_divergence_is_the_mean_absolute_difference(make_rollout):
    rollout = make_rollout()
    a, b = rollout.frames, rollout.frames[::-1]
    expected = [np.abs(x.astype(float) - y.astype(float)).mean() for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(frame_divergence(a, b), expected, rtol=1e-5)


def test_rates_by_depth(make_rollout):
    pairs = [(8, 8), (8, None), (24, 24), (24, None), (30, None), (None, 20), (None, None)]
    audited = []
    for i, (imagined, happened) in enumerate(pairs):
        rollout = make_rollout(f"r{i}", success_at=imagined)
        audited.append(audit_rollout(rollout, real(rollout, happened)))
    summary = summarise(audited)
    assert (summary.false_success.count, summary.false_success.total) == (3, 5)
    assert (summary.false_failure.count, summary.false_failure.total) == (1, 2)
    assert {k: (r.count, r.total) for k, r in summary.by_depth.items()} == {"1-16": (1, 2), "17-32": (2, 3)}
    assert len(summary.divergence) == 33


def test_no_depth_is_left_out(make_rollout):
    rollout = make_rollout(success_at=20)
    shallow = audit_rollout(rollout, real(rollout, 20))
    audited = [shallow, *(dataclasses.replace(shallow, depth=depth, real_success=False) for depth in (256, 300, 700))]
    by_depth = {k: (r.count, r.total) for k, r in summarise(audited).by_depth.items()}
    assert by_depth == {"17-32": (0, 1), "129-256": (1, 1), "257-512": (1, 1), "513-1024": (1, 1)}
