"""How far a policy has moved away from the one whose episodes the world model knows.

Shapes: N probe frames, C steps of a chunk, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.policy.base import Policy
from wovr_core.seeding import numpy_generator, torch_generator
from wovr_core.types import NULL_ACTION, Episode, FloatArray, Frames


@dataclass(frozen=True)
class ProbeSet:
    """Observations on which policies are compared; the same for all of them."""

    frames: Frames
    """(N, H, W, 3)"""
    instructions: tuple[str, ...]
    previous_actions: FloatArray
    """(N, A)"""


def probe_set(episodes: Sequence[Episode], count: int, seed: int) -> ProbeSet:
    """`count` observations drawn evenly over the episodes. Raises WovrError without episodes."""
    if not episodes or count < 1:
        raise WovrError("a probe set needs at least one episode and one frame")
    rng = numpy_generator(seed, "probe_set")
    chosen = [episodes[i % len(episodes)] for i in range(count)]
    steps = [int(rng.integers(len(e.actions))) for e in chosen]
    previous = [e.actions[t - 1] if t else NULL_ACTION for e, t in zip(chosen, steps, strict=True)]
    return ProbeSet(
        frames=np.stack([e.frames[t] for e, t in zip(chosen, steps, strict=True)]),
        instructions=tuple(e.task.instruction for e in chosen),
        previous_actions=np.stack(previous).astype(np.float32),
    )


@torch.no_grad()
def action_drift(
    old: Policy, new: Policy, probe: ProbeSet, *, temperature: float = 1.0, samples: int = 4, seed: int = 0
) -> float:
    """Symmetric Kullback-Leibler divergence of the two policies' action tokens, KL(old|new) + KL(new|old), in nats per
    token, averaged over the probe frames.

    Estimated by sampling, from `act` and `log_prob` alone, so that it works for any policy; both policies draw with
    the same random numbers. It is 0 for equal policies.
    """
    frames, previous = torch.from_numpy(probe.frames), torch.from_numpy(probe.previous_actions)
    total = 0.0
    for sample in range(samples):
        for actor, other in ((old, new), (new, old)):
            generator = torch_generator(seed, "action_drift", sample)
            chunk = actor.act(frames, probe.instructions, previous, temperature=temperature, generator=generator)
            others = other.log_prob(frames, probe.instructions, previous, chunk.tokens, temperature=temperature)
            total += float((chunk.log_probs - others).mean())
    return total / samples
