"""Which of its checkpoints a run goes on with, whatever else it has tried and kept apart."""

from __future__ import annotations

from pathlib import Path

from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL
from wovr_core.stages.folder import read_outputs

_POLICIES = ("rl_evolved", "rl", "sft")
"""The newest first."""


def models_in_use(run: Path) -> dict[str, Path]:
    """Kind -> checkpoint, as the main job (`pipeline`) goes on: the last policy, and of world model and reward the
    refined one if it was promoted, else the first. Kinds that the run has not finished yet are left out.

    Paths are within the run as it lies now, wherever it was when it was made.
    """
    found = {}
    policy = next((stage for stage in _POLICIES if read_outputs(run / stage) is not None), None)
    if policy is not None:
        found[POLICY] = run / policy / POLICY
    refined = read_outputs(run / "refine") or {}
    for kind in (WORLD_MODEL, REWARD):
        stage = "refine" if refined.get(f"{kind}_promoted") else kind
        if read_outputs(run / stage) is not None:
            found[kind] = run / stage / kind
    return found
