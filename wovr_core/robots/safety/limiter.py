"""The pure limiter: a previous target, a measured pose and a delta in; a safe target out. No state, no clock.

Everything is batched over the first axis (N commands at once), so that tests can try 10^5 streams in seconds;
the guard calls it with N = 1. Rotations are quaternions xyzw.

Why the result is always safe: the box, the step ball around the previous target and the error ball around the
measured pose are convex. If the previous target lies in all of them, so does a whole stretch of the segment
from it to the wanted target, and we go along the segment only as far as that stretch goes. If it does not
lie in the error ball (something pushed the arm), the command is dropped and the target yields towards the arm
instead, or stays where it is if a single step cannot bring it back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.robots.base import Clip, Limits, Vector

Mask = npt.NDArray[np.bool_]

SENSIBLE = 10.0
"""m or rad: a delta with a larger component is no command but a fault, and refused like a NaN."""
MARGIN = 1.0 - 1e-9
"""Lengths are cut to this share of their limit, so that rounding cannot lead over it."""
BISECTIONS = 24


@dataclass(frozen=True)
class Limited:
    """The limiter's answer to N commands."""

    target: Vector
    """(N, 7)"""
    delta: Vector
    """(N, 6) m, rad: from the previous target to this one."""
    clips: dict[Clip, Mask]
    """Which commands each limit changed, (N,) each, in the order of application."""

    def names(self, index: int = 0) -> tuple[str, ...]:
        """The clips of one command."""
        return tuple(clip.value for clip, mask in self.clips.items() if mask[index])


def limit(previous: Vector, measured: Vector, command: Vector, dt: Vector, limits: Limits) -> Limited:
    """Apply `command` (N, 6) to the targets `previous` (N, 7), of arms measured at `measured` (N, 7).

    `previous` must lie in the box and have unit quaternions (the guard's start and hold see to it). `dt` (N,)
    is the time since the last accepted command; it counts for at most one and a half periods, so that no pause
    buys a larger move.
    """
    finite: Mask = np.asarray(np.isfinite(command).all(1) & (np.abs(command) <= SENSIBLE).all(1))
    seen: Mask = np.asarray(np.isfinite(measured).all(1))
    command = np.where((finite & seen)[:, None], command, 0.0)
    measured = np.where(seen[:, None], measured, previous)
    dt = np.clip(np.nan_to_num(dt, nan=0.0), 0.0, 1.5 * limits.period)

    position, translation_clips = _translate(previous[:, :3], measured[:, :3], command[:, :3], dt, limits)
    turned, rotation_clips = _rotate(previous[:, 3:], measured[:, 3:], command[:, 3:], dt, limits)
    target = np.concatenate([position, turned], axis=1)
    delta = np.concatenate(
        [position - previous[:, :3], rotation_vector(multiply(turned, conjugate(previous[:, 3:])))], axis=1
    )
    clips = {Clip.NOT_FINITE: ~finite, Clip.STATE: ~seen, **translation_clips, **rotation_clips}
    return Limited(target, delta, clips)


def _translate(
    previous: Vector, measured: Vector, move: Vector, dt: Vector, limits: Limits
) -> tuple[Vector, dict[Clip, Mask]]:
    low, high = np.asarray(limits.workspace_low), np.asarray(limits.workspace_high)
    move, step_clip = _shorten(move, np.full(len(move), limits.max_step))
    move, speed_clip = _shorten(move, np.minimum(limits.max_step, limits.max_speed * dt))
    wanted = previous + move
    boxed = np.clip(wanted, low, high)
    box_clip = (boxed != wanted).any(1)

    offset = previous - measured
    distance = np.linalg.norm(offset, axis=1)
    near = distance <= limits.error_clip
    along = boxed - previous
    share = _share_inside(offset, along, limits.error_clip * MARGIN)
    error_clip = (share < 1.0) & near
    result = previous + along * np.where(near, share, 0.0)[:, None]

    # Far from the arm: yield to the nearest point of the error ball, if that is a legal step away.
    scale = limits.error_clip * MARGIN / np.maximum(distance, 1e-12)
    yielding = np.clip(measured + offset * scale[:, None], low, high)
    allowed = np.minimum(limits.max_step, limits.max_speed * dt)
    legal = (np.linalg.norm(yielding - previous, axis=1) <= allowed * MARGIN) & (
        np.linalg.norm(yielding - measured, axis=1) <= limits.error_clip
    )
    result = np.where((~near & legal)[:, None], yielding, result)
    return np.clip(result, low, high), {
        Clip.STEP_TRANSLATION: step_clip,
        Clip.SPEED: speed_clip,
        Clip.WORKSPACE: box_clip,
        Clip.ERROR_TRANSLATION: error_clip | ~near,
    }


def _rotate(
    previous: Vector, measured: Vector, turn: Vector, dt: Vector, limits: Limits
) -> tuple[Vector, dict[Clip, Mask]]:
    turn, step_clip = _shorten(turn, np.full(len(turn), limits.max_rotation_step))
    turn, speed_clip = _shorten(turn, np.minimum(limits.max_rotation_step, limits.max_rotation_speed * dt))
    clip = limits.rotation_error_clip
    near = angle_between(previous, measured) <= clip
    share = np.ones(len(turn))
    outside = near & (angle_between(multiply(from_rotation_vector(turn), previous), measured) > clip * MARGIN)
    if outside.any():
        share[outside] = _rotation_share(previous[outside], measured[outside], turn[outside], clip * MARGIN)
    result = multiply(from_rotation_vector(turn * np.where(near, share, 0.0)[:, None]), previous)

    # As for positions: far away, yield along the shortest rotation if one step is enough.
    back = rotation_vector(multiply(measured, conjugate(previous)))
    angle = np.linalg.norm(back, axis=1)
    excess = angle - clip * MARGIN
    legal = ~near & (excess <= np.minimum(limits.max_rotation_step, limits.max_rotation_speed * dt) * MARGIN)
    step = back * (np.maximum(excess, 0.0) / np.maximum(angle, 1e-12))[:, None]
    result = np.where(legal[:, None], multiply(from_rotation_vector(step), previous), result)
    return normalised(result), {
        Clip.STEP_ROTATION: step_clip,
        Clip.ROTATION_SPEED: speed_clip,
        Clip.ERROR_ROTATION: outside | ~near,
    }


def _rotation_share(previous: Vector, measured: Vector, turn: Vector, radius: float) -> Vector:
    """The share of `turn` that leads to the error ball's border: its inner end, by bisection.

    Balls of rotations are convex for radii under pi / 2, so what is inside is one stretch.
    """
    inner, outer = np.zeros(len(turn)), np.ones(len(turn))
    for _ in range(BISECTIONS):
        middle = (inner + outer) / 2
        inside = angle_between(multiply(from_rotation_vector(turn * middle[:, None]), previous), measured) <= radius
        inner, outer = np.where(inside, middle, inner), np.where(inside, outer, middle)
    return inner


def into_box(position: Vector, limits: Limits) -> Vector:
    """The nearest point of the workspace box."""
    return np.clip(position, limits.workspace_low, limits.workspace_high)


def in_box(position: Vector, limits: Limits, margin: float = 0.0) -> bool:
    """Whether a position (3,) lies in the box, or within `margin` m of it."""
    return bool(np.isfinite(position).all() and (np.abs(position - into_box(position, limits)) <= margin).all())


def _shorten(vectors: Vector, longest: Vector) -> tuple[Vector, Mask]:
    """Vectors (N, 3) cut to their longest length (N,), and which were cut."""
    length = np.linalg.norm(vectors, axis=1)
    cut = length > longest
    scale = np.where(cut, longest * MARGIN / np.maximum(length, 1e-300), 1.0)
    return vectors * scale[:, None], cut


def _share_inside(offset: Vector, along: Vector, radius: float) -> Vector:
    """The largest share t in [0, 1] with |offset + t along| <= radius; 0 where t = 0 is outside already."""
    a = (along**2).sum(1)
    b = (offset * along).sum(1)
    c = (offset**2).sum(1) - radius**2
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    share = np.where(a > 0, (-b + root) / np.maximum(a, 1e-300), 1.0)
    return np.where(c > 0, 0.0, np.clip(share, 0.0, 1.0))


def normalised(quaternion: Vector) -> Vector:
    """(..., 4) of length 1."""
    return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def conjugate(quaternion: Vector) -> Vector:
    """(..., 4)"""
    return quaternion * np.array([-1.0, -1.0, -1.0, 1.0])


def multiply(left: Vector, right: Vector) -> Vector:
    """Hamilton product (..., 4): first `right`, then `left`."""
    x1, y1, z1, w1 = np.moveaxis(left, -1, 0)
    x2, y2, z2, w2 = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ],
        axis=-1,
    )


def from_rotation_vector(vector: Vector) -> Vector:
    """(..., 3) rad -> (..., 4)"""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.concatenate([vector * (0.5 * np.sinc(angle / (2 * np.pi))), np.cos(angle / 2)], axis=-1)


def rotation_vector(quaternion: Vector) -> Vector:
    """(..., 4) -> (..., 3) rad, of length at most pi."""
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    return quaternion[..., :3] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-300), 2.0)


def angle_between(left: Vector, right: Vector) -> Vector:
    """(...,) rad in [0, pi]"""
    return np.linalg.norm(rotation_vector(multiply(left, conjugate(right))), axis=-1)
