"""The pure limiter under 10^5 random streams of commands: no target is ever unsafe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from wovr_core.robots.base import Clip, Limits
from wovr_core.robots.safety.limiter import (
    angle_between,
    from_rotation_vector,
    limit,
    multiply,
    normalised,
    rotation_vector,
)

TINY = 1e-9
STREAMS = 100_000
BATCH = 5_000


def check_safe(previous, measured, command, dt, result, limits):
    """Every promise of the limiter, with rotations measured by another library."""
    target = result.target
    assert np.isfinite(target).all()
    assert np.abs(np.linalg.norm(target[:, 3:], axis=1) - 1).max() < TINY
    assert (target[:, :3] >= limits.workspace_low).all()
    assert (target[:, :3] <= limits.workspace_high).all()

    moved = np.linalg.norm(target[:, :3] - previous[:, :3], axis=1)
    turned = (Rotation.from_quat(target[:, 3:]) * Rotation.from_quat(previous[:, 3:]).inv()).magnitude()
    elapsed = np.clip(np.nan_to_num(dt, nan=0.0), 0, 1.5 / limits.rate)
    assert (moved <= np.minimum(limits.max_step, limits.max_speed * elapsed) + TINY).all()
    assert (turned <= np.minimum(limits.max_rotation_step, limits.max_rotation_speed * elapsed) + 1e-7).all()

    error = np.linalg.norm(target[:, :3] - measured[:, :3], axis=1)
    rotation_error = (Rotation.from_quat(target[:, 3:]) * Rotation.from_quat(measured[:, 3:]).inv()).magnitude()
    assert (error[moved > TINY] <= limits.error_clip + TINY).all()
    assert (rotation_error[turned > 1e-6] <= limits.rotation_error_clip + 1e-7).all()

    refused = ~np.isfinite(command).all(1) | (np.abs(np.nan_to_num(command)) > 10).any(1)
    assert (result.clips[Clip.NOT_FINITE] == refused).all()
    asked = np.where(refused[:, None], 0.0, command)
    changed = np.linalg.norm(target[:, :3] - previous[:, :3] - asked[:, :3], axis=1) > 1e-6
    named = np.any(list(result.clips.values()), axis=0)
    assert not (changed & ~named).any(), "a changed command names what changed it"


@pytest.mark.robot
@settings(
    max_examples=STREAMS // BATCH,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # no shrinking: batches are large, and the seed tells which
)
@given(
    seed=st.integers(0, 2**32 - 1),
    magnitude=st.floats(-4, 3),
    push=st.sampled_from([0.0, 0.003, 0.05]),
    limits=st.builds(
        Limits,
        rate=st.sampled_from([5.0, 10.0, 20.0]),
        max_step=st.floats(0.001, 0.1),
        max_rotation_step=st.floats(0.001, 0.5),
        max_speed=st.floats(0.01, 1.0),
        max_rotation_speed=st.floats(0.01, 3.0),
        error_clip=st.floats(0.001, 0.1),
        rotation_error_clip=st.floats(0.01, 1.0),
    ),
)
def test_no_stream_of_commands_leads_to_an_unsafe_target(seed, magnitude, push, limits):
    rng = np.random.default_rng(seed)
    low, high = np.array(limits.workspace_low), np.array(limits.workspace_high)
    previous = np.concatenate([rng.uniform(low, high, (BATCH, 3)), normalised(rng.normal(size=(BATCH, 4)))], axis=1)
    measured = previous.copy()
    for _ in range(5):
        command = rng.normal(size=(BATCH, 6)) * 10 ** (magnitude + rng.normal(size=(BATCH, 1)))
        broken = rng.random(BATCH) < 0.05
        command[broken, rng.integers(6)] = rng.choice([np.nan, np.inf, -np.inf])
        dt = rng.choice([0.0, 0.01, 0.05, 0.1, 5.0, -1.0, np.nan], BATCH)
        result = limit(previous, measured, command, dt, limits)
        check_safe(previous, measured, command, dt, result, limits)
        previous = result.target
        measured = previous.copy()  # the arm follows, and somebody pushes it
        measured[:, :3] += rng.normal(size=(BATCH, 3)) * push
        measured[:, 3:] = multiply(from_rotation_vector(rng.normal(size=(BATCH, 3)) * 5 * push), measured[:, 3:])


@pytest.mark.robot
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    command=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=6, max_size=6),
    offset=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
    dt=st.floats(allow_nan=True, allow_infinity=True),
)
def test_the_nastiest_floats_are_no_exception(command, offset, dt):
    limits = Limits()
    previous = np.array([[0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0]])
    measured = previous.copy()
    measured[0, :3] += offset
    values = np.array([command])
    result = limit(previous, measured, values, np.array([dt]), limits)
    check_safe(previous, measured, values, np.array([dt]), result, limits)


@pytest.mark.robot
def test_a_command_within_all_limits_passes_unchanged():
    pose = np.array([[0.5, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0]])
    command = np.array([[0.004, -0.003, 0.002, 0.01, 0.0, -0.02]])
    result = limit(pose, pose, command, np.array([0.05]), Limits())
    assert result.names() == ()
    np.testing.assert_allclose(result.delta, command, atol=1e-12)
    expected = Rotation.from_rotvec(command[0, 3:]).as_quat()
    np.testing.assert_allclose(result.target[0, 3:], expected, atol=1e-12)


@pytest.mark.robot
def test_a_wall_of_the_box_is_slid_along():
    pose = np.array([[0.75, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0]])
    result = limit(pose, pose, np.array([[0.005, 0.005, 0, 0, 0, 0]]), np.array([0.05]), Limits())
    np.testing.assert_allclose(result.target[0, :3], [0.75, 0.005, 0.3], atol=1e-12)
    assert result.names() == (Clip.WORKSPACE.value,)


@pytest.mark.robot
def test_a_pushed_arm_draws_the_target_after_it():
    target = np.array([[0.5, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0]])
    measured = target + np.array([[0.03, 0, 0, 0, 0, 0, 0]])
    result = limit(target, measured, np.array([[-0.005, 0, 0, 0, 0, 0]]), np.array([0.05]), Limits())
    np.testing.assert_allclose(result.target[0, :3], [0.51, 0, 0.3], atol=1e-6)
    assert Clip.ERROR_TRANSLATION.value in result.names()


@pytest.mark.robot
def test_rotation_arithmetic_agrees_with_scipy():
    rng = np.random.default_rng(3)
    a, b = Rotation.random(200, random_state=1), Rotation.random(200, random_state=2)
    vectors = rng.normal(size=(200, 3)) * rng.choice([1e-9, 1e-3, 1.0], (200, 1))
    np.testing.assert_allclose(np.abs((multiply(a.as_quat(), b.as_quat()) * (a * b).as_quat()).sum(1)), 1, atol=1e-12)
    np.testing.assert_allclose(angle_between(a.as_quat(), b.as_quat()), (a * b.inv()).magnitude(), atol=1e-9)
    np.testing.assert_allclose(rotation_vector(from_rotation_vector(vectors)), vectors, atol=1e-12)
