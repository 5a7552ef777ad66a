"""Which of its checkpoints a run goes on with, whatever else it has tried and kept apart."""

from __future__ import annotations

from pathlib import Path

from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL
from wovr_core.rounds import in_rounds
from wovr_core.stages.folder import read_outputs


def models_in_use(run: Path) -> dict[str, Path]:
    """Kind -> checkpoint, as the main job (`pipeline`) goes on: the last policy, and of world model and reward the
    refined one if it was promoted, else the first. Kinds that the run has not finished yet are left out.

    Paths are within the run as it lies now, wherever it was when it was made.
    """
    found = {}
    policies = [*reversed(in_rounds(run, "rl_evolved")), "rl", "sft"]  # the newest first
    policy = next((stage for stage in policies if read_outputs(run / stage) is not None), None)
    if policy is not None:
        found[POLICY] = run / policy / POLICY
    refined = {stage: read_outputs(run / stage) or {} for stage in reversed(in_rounds(run, "refine"))}
    for kind in (WORLD_MODEL, REWARD):
        stage = next((stage for stage, made in refined.items() if made.get(f"{kind}_promoted")), kind)
        if read_outputs(run / stage) is not None:
            found[kind] = run / stage / kind
    return found
