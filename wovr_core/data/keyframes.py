"""KIR, keyframe-initialised rollouts: which frames imagined rollouts start from.

A share of the starts are episode beginnings; the others lie a little before something decisive: the gripper
closing (contact), opening (release), the end of a failed episode, or the frame from which the world model's
replay of the episode departs from what really happened. Failures come first: that is where the policy learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wovr_core.config import LATER
from wovr_core.data.segments import gripper_changes, keyframe
from wovr_core.types import Episode, FloatArray, Keyframe


@dataclass(frozen=True)
class KeyframeConfig:
    """How many starts, and how far before the decisive moment they lie."""

    count: int = 48
    """Keyframes to select."""
    initial_share: float = 0.25
    """Share of them that are episode beginnings (plain, not keyframe-initialised, rollouts)."""
    failure_share: float = 0.7
    """Share of the others that come from failed episodes, as far as there are any."""
    lead_min: int = 4
    """Fewest actions before the decisive moment at which to start; drawn uniformly up to `lead_max`."""
    lead_max: int = 20
    """Most actions before the decisive moment at which to start."""
    divergence_threshold: float = 10.0
    """Mean absolute pixel difference of imagined and real frame, of 255, that counts as divergence."""
    first_contact: bool | None = field(default=None, metadata=LATER)
    """Only before the first closing of the gripper, where there is one: what is lifted is mostly brought to its goal,
    and what a failed episode does after its first grasp decides little. None: before every decisive moment."""


def critical_moments(episode: Episode, divergence: FloatArray | None, threshold: float) -> dict[str, list[int]]:
    """Frames at which something is decided, by reason.

    divergence: (T+1,) of the world model's closed-loop replay of this episode, or None.
    """
    closed = episode.actions[:, 6] > 0
    changes = [int(t) for t in gripper_changes(episode.actions)]
    moments = {
        "contact": [t for t in changes if closed[t]],
        "release": [t for t in changes if not closed[t]],
    }
    if episode.first_success is not None:
        # What follows the success no longer matters.
        moments = {k: [t for t in v if t <= episode.first_success] for k, v in moments.items()}
    else:
        moments["before_failure"] = [episode.length]
    if divergence is not None and (divergence > threshold).any():
        moments["divergence"] = [int((divergence > threshold).argmax())]
    return {reason: steps for reason, steps in moments.items() if steps}


def select_keyframes(
    episodes: Sequence[Episode],
    config: KeyframeConfig,
    rng: np.random.Generator,
    divergences: Sequence[FloatArray | None] | None = None,
) -> list[Keyframe]:
    """Draw `config.count` keyframes, spread over tasks, outcomes and reasons.

    divergences: one for each episode, or None where it was not measured. By place, as two rounds of collecting give
    their episodes the same ids.

    Raises ValueError without episodes. The same generator state gives the same keyframes.
    """
    if not episodes:
        raise ValueError("no episodes to select keyframes from")
    everything = range(len(episodes))
    failures = [i for i in everything if not episodes[i].succeeded]
    successes = [i for i in everything if episodes[i].succeeded]
    chosen: list[Keyframe] = []
    for index in range(config.count):
        if index < round(config.initial_share * config.count):
            episode = episodes[int(rng.integers(len(episodes)))]
            chosen.append(keyframe(episode, 0, "initial"))
            continue
        wants_failure = rng.random() < config.failure_share
        pool = (failures if wants_failure else successes) or everything
        place = pool[int(rng.integers(len(pool)))]
        episode = episodes[place]
        divergence = divergences[place] if divergences else None
        moments = critical_moments(episode, divergence, config.divergence_threshold)
        if config.first_contact and "contact" in moments:
            moments = {"contact": moments["contact"][:1]}
        if not moments:
            chosen.append(keyframe(episode, 0, "initial"))
            continue
        reason = sorted(moments)[int(rng.integers(len(moments)))]
        moment = moments[reason][int(rng.integers(len(moments[reason])))]
        lead = int(rng.integers(config.lead_min, config.lead_max + 1))
        chosen.append(keyframe(episode, max(0, moment - lead), reason))
    return chosen
