"""Real episodes imagined again under their own actions, in closed loop, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wovr_core.data.segments import producing_actions, window_indices
from wovr_core.errors import WovrError
from wovr_core.precision import autocast
from wovr_core.types import CHUNK, CONTEXT_FRAMES, NULL_ACTION, RECENT_FRAMES, FloatArray, Frames
from wovr_core.world_model.model import WorldModel

BATCH = 16
"""Episodes imagined together: one by one, most of the time goes to small products."""


@dataclass(frozen=True)
class Stretch:
    """A part of a real episode that is to be imagined."""

    frames: Frames
    """(T+1, H, W, 3); only those up to `start` are seen."""
    actions: FloatArray
    """(T, A)"""
    chunks: int
    seed: int
    """Of the noise."""
    start: int = 0
    """Frame from which imagination goes on by itself."""


def imagine_episode(
    model: WorldModel,
    frames: Frames,
    actions: FloatArray,
    chunks: int,
    solver_steps: int,
    seed: int,
    start: int = 0,
) -> Frames:
    """Imagine a real episode from its own actions, in closed loop from frame `start`; see `Stretch`.

    Returns:
        (chunks * 8, H, W, 3): what should be frames[start + 1 :]; nothing for an episode shorter than a chunk.

    Raises:
        WovrError: more chunks than the episode has actions for.
    """
    return imagine_stretches(model, [Stretch(frames, actions, chunks, seed, start)], solver_steps)[0]


def imagine_stretches(
    model: WorldModel, stretches: Sequence[Stretch], solver_steps: int, batch: int = BATCH
) -> list[Frames]:
    """`imagine_episode` for many, those of like length together. Each has its own noise; what it is imagined beside
    changes no more than rounding.

    Returns:
        Per stretch, in the order given: (chunks * 8, H, W, 3).

    Raises:
        WovrError: a stretch of more chunks than its episode has actions for.
    """
    for s in stretches:
        if s.start + s.chunks * CHUNK > len(s.actions):
            raise WovrError(
                f"{s.chunks} chunks from frame {s.start} need more than the episode's {len(s.actions)} actions"
            )
    model.eval()
    order = sorted(range(len(stretches)), key=lambda i: -stretches[i].chunks)
    made: dict[int, Frames] = {}
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        made |= zip(chosen, _imagine([stretches[i] for i in chosen], model, solver_steps), strict=True)
    return [made[i] for i in range(len(stretches))]


@torch.no_grad()
def _imagine(stretches: Sequence[Stretch], model: WorldModel, solver_steps: int) -> list[Frames]:
    """The longest comes first: those that have ended leave the batch from its end."""
    produced = [torch.from_numpy(producing_actions(s.actions)) for s in stretches]
    generators = [torch.Generator().manual_seed(s.seed) for s in stretches]
    out: list[list[Frames]] = [[] for _ in stretches]
    with autocast(model.device):
        seen = torch.from_numpy(np.stack([s.frames[window_indices(s.start)[:CONTEXT_FRAMES]] for s in stretches]))
        context = model.codec.encode(seen).float()
        for k in range(stretches[0].chunks):
            going = sum(s.chunks > k for s in stretches)
            context, seen = context[:going], seen[:going]
            rows = [window_indices(s.start + k * CHUNK) for s in stretches[:going]]
            window = torch.stack([p[r] for p, r in zip(produced, rows, strict=False)])
            window[:, 0] = torch.from_numpy(NULL_ACTION)
            future = model.imagine_chunk(context, window, solver_steps, generators[:going])
            frames = model.codec.decode(torch.cat([context, future], dim=1), last=CHUNK).cpu()
            for row, pictures in enumerate(frames):
                out[row].append(pictures.numpy())
            context = model.next_context(context, future, torch.cat([seen[:, :1], frames[:, -RECENT_FRAMES:]], dim=1))
    return [
        np.concatenate(parts) if parts else np.empty((0, *s.frames.shape[1:]), dtype=np.uint8)
        for s, parts in zip(stretches, out, strict=True)
    ]
