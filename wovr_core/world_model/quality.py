"""How far imagination can be trusted: closed-loop rollouts of real actions, measured against the real frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.pictures import decibels, squared_error, ssim
from wovr_core.precision import autocast
from wovr_core.types import CHUNK, FloatArray, Frames
from wovr_core.world_model.closed_loop import Stretch, imagine_stretches
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.motion import moving_region


@dataclass(frozen=True)
class QualityReport:
    """Held-out, closed-loop quality. Horizons count imagined frames; each value is over the 8 frames before it."""

    horizons: tuple[int, ...]
    psnr: tuple[float, ...]
    """dB over the whole frame, per horizon."""
    psnr_moving: tuple[float, ...]
    """dB over the moving region (arm, gripper, object), real or imagined."""
    ssim: tuple[float, ...]
    codec_psnr: float
    """dB of decode(encode(x)): the ceiling of `psnr`."""
    codec_psnr_moving: float
    frozen_psnr_moving: tuple[float, ...]
    """dB of predicting that nothing moves after the first frame: what a useless model reaches."""
    frames_per_second: float
    """Imagined and decoded, all episodes together in batches."""
    episodes: tuple[int, ...]
    """How many episodes were long enough for each horizon."""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def closed_loop_psnr(
    model: WorldModel,
    episodes: Sequence[tuple[Frames, FloatArray]],
    horizons: Sequence[int],
    solver_steps: int = 1,
    seed: int = 0,
    given: Sequence[FloatArray] | None = None,
) -> FloatArray:
    """PSNR (dB) of the moving region for each episode, where `evaluate` gives means: for intervals and paired tests.

    Args:
        episodes: (frames (T+1, H, W, 3) u8, actions (T, A)), never trained on.
        horizons: imagined frames, multiples of 8; each value is over the 8 frames before it.
        seed: of the noise; the episode's number is added.
        given: other actions (T', A) for each episode, imagined in place of its own: what the model then loses is what
            it owes to the actions.

    Returns:
        (episodes, horizons); NaN where the actions end before, or nothing moves.

    Raises:
        WovrError: a horizon that is no whole number of chunks.
    """
    if any(h % CHUNK for h in horizons):
        raise WovrError(f"horizons must be multiples of {CHUNK}, got {tuple(horizons)}")
    table = np.full((len(episodes), len(horizons)), np.nan, dtype=np.float32)
    stretches = []
    for row, (frames, own) in enumerate(episodes):
        actions = own if given is None else given[row]
        reached = [h for h in horizons if h <= min(len(own), len(actions))]
        stretches.append(Stretch(frames, actions, max(reached, default=0) // CHUNK, seed + row))
    for row, made in enumerate(imagine_stretches(model, stretches, solver_steps)):
        frames = episodes[row][0]
        moving = moving_region(frames)
        for h in (h for h in horizons if h <= len(made)):
            real = slice(h - CHUNK + 1, h + 1)
            error = squared_error(made[h - CHUNK : h], frames[real], moving[real])
            table[row, list(horizons).index(h)] = decibels(error) if error == error else np.nan
    return table


def evaluate(
    model: WorldModel,
    episodes: Sequence[tuple[Frames, FloatArray]],
    horizons: Sequence[int] = (8, 32, 64, 128),
    solver_steps: int = 2,
    seed: int = 0,
) -> QualityReport:
    """Imagine each held-out episode from its first frame under its own actions, and compare.

    Args:
        episodes: (frames (T+1, H, W, 3) u8, actions (T, A)), never trained on.
        horizons: imagined frames, multiples of 8; those beyond every episode are left out.
        seed: of the noise; the episode's number is added.

    Raises:
        WovrError: no episode, or a horizon that is no whole number of chunks.
    """
    if not episodes:
        raise WovrError("no held-out episode to measure the world model on")
    if any(h % CHUNK for h in horizons):
        raise WovrError(f"horizons must be multiples of {CHUNK}, got {tuple(horizons)}")
    longest = max(len(a) for _, a in episodes)
    usable = [h for h in sorted(horizons) if h <= longest]
    collected: dict[int, list[tuple[float, float, float, float]]] = {h: [] for h in usable}
    codec: list[tuple[float, float]] = []
    stretches = [
        Stretch(frames, actions, min(len(actions), max(usable, default=0)) // CHUNK, seed + number)
        for number, (frames, actions) in enumerate(episodes)
    ]
    began = time.perf_counter()
    imagined = imagine_stretches(model, stretches, solver_steps)
    seconds = time.perf_counter() - began
    for (frames, _), made in zip(episodes, imagined, strict=True):
        moving = moving_region(frames)
        with autocast(model.device):
            sample = slice(0, None, 4)
            coded = (
                model.codec.decode_frames(model.codec.encode_frames(torch.from_numpy(frames[sample].copy())))
                .cpu()
                .numpy()
            )
        codec.append((squared_error(coded, frames[sample]), squared_error(coded, frames[sample], moving[sample])))
        for h in usable:
            if h > len(made):
                continue
            real, guess = frames[h - CHUNK + 1 : h + 1], made[h - CHUNK : h]
            region = moving[h - CHUNK + 1 : h + 1]
            still = np.broadcast_to(frames[:1], real.shape)
            collected[h].append(
                (
                    squared_error(guess, real),
                    squared_error(guess, real, region),
                    ssim(guess, real),
                    squared_error(still, real, region),
                )
            )
    table = {h: np.nanmean(np.array(rows), axis=0) for h, rows in collected.items()}
    ceiling = np.nanmean(np.array(codec), axis=0)

    def column(i: int) -> tuple[float, ...]:
        return tuple(decibels(table[h][i]) for h in usable)

    return QualityReport(
        horizons=tuple(usable),
        psnr=column(0),
        psnr_moving=column(1),
        ssim=tuple(float(table[h][2]) for h in usable),
        codec_psnr=decibels(ceiling[0]),
        codec_psnr_moving=decibels(ceiling[1]),
        frozen_psnr_moving=column(3),
        frames_per_second=sum(map(len, imagined)) / max(seconds, 1e-9),
        episodes=tuple(len(collected[h]) for h in usable),
    )
