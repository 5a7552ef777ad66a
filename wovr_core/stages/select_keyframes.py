"""Choose where imagined rollouts start: episode beginnings, and keyframes near what decides an episode."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wovr_core.audit.outcomes import frame_divergence
from wovr_core.data.corrections import reference_of
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.keyframes import KeyframeConfig, select_keyframes
from wovr_core.errors import WovrError
from wovr_core.model_files import load_world_model, version_of
from wovr_core.seeding import derive_seed, numpy_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.types import CHUNK, Episode, FloatArray
from wovr_core.world_model.closed_loop import Stretch, imagine_stretches
from wovr_core.world_model.model import WorldModel

logger = logging.getLogger("wovr.keyframes")
SOLVER_STEPS = 1
"""Where imagination leaves the real episode is found with the cheapest sampler."""


@dataclass(frozen=True)
class KeyframeInputs:
    episodes: tuple[str, ...]
    """Folders of real episodes, those of the current policy first of all."""
    versions: tuple[str, ...]
    world_model: Path
    seed: int
    replayable: bool = True
    """Only from episodes with simulator states, as far as there are any, so that what is imagined from the keyframes
    can be audited. False: from all alike, for episodes of a real arm."""
    excluded: tuple[str, ...] | None = None
    """`reference_of` episodes that nothing may begin in."""


@dataclass(frozen=True)
class KeyframeOutputs:
    keyframes: str
    version: str
    reasons: dict[str, int]
    from_failures: int


def run(
    config: KeyframeConfig, inputs: KeyframeInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> KeyframeOutputs:
    """Select, and write them to one file.

    Raises:
        WovrError: the folders hold no episodes, or only excluded ones.
    """
    versions = {
        "episodes": ",".join(inputs.versions),
        "world_model": version_of(inputs.world_model),
        "seed": str(inputs.seed),
    }
    if not inputs.replayable:
        versions["replayable"] = "no"  # named only here, so that what was selected before stays valid
    if inputs.excluded:
        versions["excluded"] = ",".join(sorted(inputs.excluded))
    folder = StageFolder(out_dir, "select_keyframes", config, versions, on_metrics)
    finished = folder.outputs(KeyframeOutputs)
    if finished:
        return finished
    episodes = _eligible(inputs)
    model, _ = load_world_model(inputs.world_model)
    divergences = _divergences(model, episodes, inputs.seed)
    chosen = select_keyframes(episodes, config, numpy_generator(inputs.seed, "keyframes"), divergences)
    path = folder.path / "keyframes.safetensors"
    version = write_keyframes(path, chosen)
    # Ids alone are not unique over folders: the evolved policy's episodes are called like the base policy's.
    failed = {(e.id, reference_of(e.frames[0])) for e in episodes if not e.succeeded}
    reasons = Counter(k.reason for k in chosen)
    from_failures = sum((k.start.episode_id, reference_of(k.context_frames[0])) in failed for k in chosen)
    folder.log(len(chosen), {**{f"reason_{k}": v for k, v in reasons.items()}, "from_failures": from_failures})
    return folder.finish(KeyframeOutputs(str(path), version, dict(reasons), from_failures))


def _eligible(inputs: KeyframeInputs) -> list[Episode]:
    episodes = list(load_named(inputs.episodes).values())
    if not episodes:
        raise WovrError(
            f"no episodes in {', '.join(inputs.episodes)}: there is nothing to begin imagined rollouts from"
        )
    if inputs.excluded:
        episodes = [e for e in episodes if reference_of(e.frames[0]) not in inputs.excluded]
        if not episodes:
            raise WovrError("every episode is excluded: there is none left to begin imagined rollouts from")
    if not inputs.replayable:
        return episodes
    # Imported and real episodes hold no simulator states: nothing can be replayed from them.
    with_states = [e for e in episodes if e.sim_states is not None]
    if not with_states:
        logger.warning("no episode holds simulator states: what is imagined from these keyframes cannot be audited")
    return with_states or episodes


def _divergences(model: WorldModel, episodes: Sequence[Episode], seed: int) -> list[FloatArray | None]:
    """Per failed episode (T+1,): the difference of its frames and their closed-loop imagination, zero past the last
    chunk. None for the others."""
    failed = [i for i, e in enumerate(episodes) if not e.succeeded]
    stretches = [
        Stretch(e.frames, e.actions, e.length // CHUNK, derive_seed(seed, "keyframe_divergence", e.id))
        for e in (episodes[i] for i in failed)
    ]
    found: list[FloatArray | None] = [None] * len(episodes)
    for i, imagined in zip(failed, imagine_stretches(model, stretches, SOLVER_STEPS), strict=True):
        divergence = np.zeros(episodes[i].length + 1, dtype=np.float32)
        divergence[1 : len(imagined) + 1] = frame_divergence(imagined, episodes[i].frames[1 : len(imagined) + 1])
        found[i] = divergence
    return found
