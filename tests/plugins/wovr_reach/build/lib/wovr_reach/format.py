"""Strips: a folder of .strip.json files, each an episode whose frames are drawn from recorded positions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from wovr_core.data.formats.base import Clip, require
from wovr_reach.environment import ReachConfig, ReachEnv


class StripsReader:
    """See `wovr_core.data.formats.base.EpisodeReader`. It runs in the sandbox, as all readers do."""

    def __init__(self, path: Path) -> None:
        self._files = {file.name: file for file in sorted(path.glob("*.strip.json"))}
        require(bool(self._files), path, "holds no *.strip.json")

    def keys(self) -> list[str]:
        return list(self._files)

    def read(self, key: str) -> Clip:
        strip = json.loads(self._files[key].read_text())
        env = ReachEnv(ReachConfig(), 0)
        frames = np.stack([env.restore(state) for state in np.array(strip["states"], dtype=np.float64)])
        actions = np.array(strip["actions"], dtype=np.float32)
        return Clip(key, frames, actions, instruction=env.task.instruction, suite="reach", task=0, file=key)
