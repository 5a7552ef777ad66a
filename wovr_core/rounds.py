"""What the stages of the main job's rounds of practice are called."""

from __future__ import annotations

import re
from pathlib import Path

LATER_ROUND = ("collect_evolved", "refine", "keyframes_evolved", "rl_evolved")
"""Stages of every round of practice after the first: collecting, refining, selecting, practising."""


def round_stages(number: int, rounds: int) -> tuple[str, str, str, str]:
    """What the stages of a round are called: collecting, refining, selecting, practising.

    The last round has the plain names; a round between it and the first adds its number: "refine_2". The first round,
    1, neither collects nor refines.
    """
    if number == 1:
        return "", "", "keyframes", "rl"
    collecting, refining, selecting, practising = (
        name if number == rounds else f"{name}_{number}" for name in LATER_ROUND
    )
    return collecting, refining, selecting, practising


def plain_stage(stage: str) -> str:
    """ "refine" of "refine_2"; every other name as it is."""
    plain = re.sub(r"_\d+$", "", stage)
    return plain if plain in LATER_ROUND else stage


def in_rounds(run: Path, stage: str) -> list[str]:
    """The folders that a stage of LATER_ROUND has in a run, oldest first: those of the rounds between, by their number,
    then that of the last round."""
    between = [p.name for p in run.glob(f"{stage}_*") if p.name != stage and plain_stage(p.name) == stage]
    between.sort(key=lambda name: int(name.rsplit("_", 1)[1]))
    return [*between, *([stage] if (run / stage).is_dir() else [])]
