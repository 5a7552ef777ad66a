"""The object-state error: whether gripper and object are, in imagined frames, where they really would be.

A probe reads their places off the pictures; where they really were is known to the simulator, whose recorded states
are restored. The probe's own error on the real frames of the same instants stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.evidence.sources import ProbeSource
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, Episode, FloatArray, Frames

Positions = Callable[[Episode, Sequence[int]], FloatArray]
"""(episode, frames) -> (n, P, 3) true positions in m. Raises WovrError where they cannot be known."""


@dataclass(frozen=True)
class ObjectError:
    """In cm, at some frames of a rollout."""

    probe: str
    """The probe's version."""
    frames: tuple[int, ...]
    imagined: dict[str, tuple[float, ...]]
    """Thing -> distance of where imagined frames show it from where it really was."""
    floor: dict[str, tuple[float, ...]]
    """The same of the real frames: what the probe cannot see better."""

    @property
    def excess(self) -> dict[str, float]:
        """Thing -> greatest distance beyond the floor at any of the frames."""
        pairs = ((thing, zip(self.imagined[thing], self.floor[thing], strict=True)) for thing in self.imagined)
        return {thing: max(max(a - b for a, b in pair), 0.0) for thing, pair in pairs}


def measure(
    probe: ProbeSource, imagined: Frames, real: Episode, positions: Positions, stride: int = CHUNK
) -> ObjectError:
    """Compare every `stride`-th frame.

    Args:
        imagined: (N, H, W, 3); imagined[k] stands beside real.frames[k].

    Raises:
        WovrError: the probe cannot be loaded, or true positions cannot be known.
    """
    from wovr_core.stages.train_probe import load_probe
    from wovr_core.world_model.measures.probe import THINGS

    network = load_probe(probe.path)
    if real.task.task >= network.config.tasks:
        raise WovrError(f"the probe knows {network.config.tasks} tasks, not task {real.task.task}")
    chosen = list(range(0, min(len(imagined), len(real.frames)), stride))
    truth = positions(real, chosen)
    read, floor = (
        100 * np.linalg.norm(network.locate(frames[chosen], real.task.task) - truth, axis=-1)
        for frames in (imagined, real.frames)
    )
    return ObjectError(probe.version, tuple(chosen), _columns(THINGS, read), _columns(THINGS, floor))


def simulator_positions(episode: Episode, frames: Sequence[int]) -> FloatArray:
    """Of LIBERO, by restoring the states that the episode recorded; building the scene takes seconds."""
    from wovr_core.envs.env_cache import EnvCache
    from wovr_core.envs.libero import LiberoConfig
    from wovr_core.stages.positions import PositionJob, read_positions

    if episode.sim_states is None:
        raise WovrError(f"episode {episode.id} holds no simulator states: where things were is not known")
    envs = EnvCache(1)
    try:
        job = PositionJob(LiberoConfig(suite=episode.task.suite), episode.task.task, episode.sim_states[list(frames)])
        return read_positions(envs, job)
    finally:
        envs.close()


def _columns(things: Sequence[str], distances: FloatArray) -> dict[str, tuple[float, ...]]:
    return {thing: tuple(round(float(v), 2) for v in distances[:, i]) for i, thing in enumerate(things)}
