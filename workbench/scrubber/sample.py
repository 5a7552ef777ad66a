"""A made-up rollout whose frames carry their own number, for tests, benchmarks and screenshots of the scrubber.

It is a drawing, no simulation: a gripper carries a can to a basket; the imagined version blurs and loses the can.
Along the bottom run two rows of black and white blocks, the number's bits: one in both the real and the imagined
frame, and one that is black in the real frame, so that the difference shows the number as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wovr_core.types import ACTION_DIM, CHUNK, CONTEXT_FRAMES, Episode, Frames, Rollout, Start, TaskId

BITS = 12
TASK = TaskId("sample", 0, "pick up the can and place it in the basket")


def block(size: int) -> int:
    """Side of a block in pixels."""
    return max(2, size // BITS)


def numbered_rollout(
    chunks: int = 37, size: int = 64, *, seed: int = 0, name: str = "sample-0"
) -> tuple[Rollout, Episode]:
    """An imagined rollout of `chunks` chunks (8 * chunks + 1 frames) and the real episode beside it."""
    n = chunks * CHUNK + 1
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, n)
    real = np.stack([_scene(size, t, lost=0.0) for t in time])
    lost = np.clip((time - 0.55) / 0.2, 0.0, 1.0)
    imagined = np.stack(
        [_blurred(_scene(size, t, lost=gone), 1 + int(2 * t)) for t, gone in zip(time, lost, strict=True)]
    )
    for k in range(n):
        _stamp(real[k], k, with_second=False)
        _stamp(imagined[k], k, with_second=True)
    actions = _actions(n - 1, rng)
    p = 1.0 / (1.0 + np.exp(-(time - 0.72) * 30)) * 0.94 + 0.02 * rng.random(n)
    first = int(np.argmax(p > 0.5)) if (p > 0.5).any() else n - 1
    tokens = np.zeros((chunks, CHUNK, ACTION_DIM), dtype=np.int64)
    rollout = Rollout(
        id=name, task=TASK, start=Start("sample-episode", 0), group_id="sample-group", sampler_seed=seed,
        context_frames=np.repeat(imagined[:1], CONTEXT_FRAMES, axis=0),
        context_actions=np.zeros((CONTEXT_FRAMES, ACTION_DIM), dtype=np.float32), sim_state=np.zeros(1),
        frames=imagined, actions=actions, action_tokens=tokens, log_probs=tokens.astype(np.float32),
        p_success=p.astype(np.float32), loss_mask=(np.arange(n - 1) < first).reshape(chunks, CHUNK), reward=0.8,
        versions={"policy": "sample", "world_model": "sample", "reward": "sample"},
    )  # fmt: skip
    success = np.zeros(n, dtype=np.bool_)
    episode = Episode(f"{name}-replay", TASK, seed, "sample", real, actions, success)
    return rollout, episode


def _stamp(frame: npt.NDArray[np.uint8], k: int, *, with_second: bool) -> None:
    side, height = block(frame.shape[1]), frame.shape[0]
    for i in range(BITS):
        on = 255 if k >> i & 1 else 0
        frame[height - side :, i * side : (i + 1) * side] = on
        frame[height - 2 * side : height - side, i * side : (i + 1) * side] = on if with_second else 0


def _actions(n: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    t = np.linspace(0, 6 * np.pi, n)[:, None]
    waves = np.sin(t * np.array([1.0, 0.7, 1.3, 0.5, 0.3, 0.9])) * np.array([0.8, 0.6, 0.7, 0.15, 0.2, 0.3])
    waves = np.clip(waves + rng.normal(0, 0.05, waves.shape), -1, 1)
    gripper = np.where(np.arange(n) % max(2, n // 2) > n // 6, 1.0, -1.0)[:, None]
    return np.concatenate([waves, gripper], axis=1).astype(np.float32)


def _scene(size: int, t: float, *, lost: float) -> Frames:
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.empty((size, size, 3))
    picture[:] = (208, 196, 178)
    picture[y < 0.34] = (176, 186, 196)
    picture *= (0.92 + 0.08 * x)[..., None]
    reach = 0.26 + 0.46 * np.clip(t * 1.6 - 0.2, 0, 1)
    height = 0.62 - 0.22 * np.sin(np.pi * np.clip(t * 1.5 - 0.15, 0, 1))
    _paint(picture, (np.abs(x - 0.76) < 0.13) & (np.abs(y - 0.66) < 0.09), (142, 96, 60), 1.0)
    _paint(picture, (np.abs(x - 0.76) < 0.10) & (np.abs(y - 0.64) < 0.06), (96, 62, 40), 1.0)
    carried = reach if t > 0.12 else 0.26
    can_y = height + 0.03 if t > 0.12 else 0.62
    _paint(picture, (np.abs(x - carried) < 0.045) & (np.abs(y - can_y) < 0.075), (190, 44, 48), 1.0 - lost)
    _paint(picture, (np.abs(x - carried) < 0.045) & (np.abs(y - can_y) < 0.02), (236, 226, 210), 1.0 - lost)
    arm = np.abs((x - 0.5) - (reach - 0.5) * (y / max(height - 0.1, 0.1))) < 0.035
    _paint(picture, arm & (y < height - 0.1), (236, 238, 240), 1.0)
    _paint(picture, (np.abs(x - reach) < 0.085) & (np.abs(y - (height - 0.09)) < 0.025), (60, 64, 72), 1.0)
    for side in (-1, 1):
        _paint(
            picture,
            (np.abs(x - reach - side * 0.065) < 0.016) & (np.abs(y - height + 0.045) < 0.055),
            (60, 64, 72),
            1.0,
        )
    return picture.astype(np.uint8)


def _paint(
    picture: npt.NDArray[np.float64], where: npt.NDArray[np.bool_], colour: tuple[int, int, int], alpha: float
) -> None:
    picture[where] = picture[where] * (1 - alpha) + np.array(colour, dtype=np.float64) * alpha


def _blurred(picture: Frames, radius: int) -> Frames:
    from scipy.ndimage import uniform_filter

    return uniform_filter(picture, size=(2 * radius - 1, 2 * radius - 1, 1))
