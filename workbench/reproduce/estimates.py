"""About how long a study still takes: kinds of stages by the seconds that finished ones took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from workbench.reproduce.arms import Arm, find_arm
from workbench.reproduce.job import SHARED
from wovr_core.files import read_json


@dataclass(frozen=True)
class Estimate:
    """Of the units that are left."""

    units: int
    minutes: float
    """Over the kinds of stages that have been timed."""
    untimed: tuple[str, ...]
    """Kinds that no finished stage tells about yet: the estimate leaves them out."""

    def __str__(self) -> str:
        """ "3 units left, about 74 minutes (not timed yet: online)"."""
        unknown = f" (not timed yet: {', '.join(self.untimed)})" if self.untimed else ""
        units = f"{self.units} unit{'' if self.units == 1 else 's'} left"
        if self.untimed and not self.minutes:
            return f"{units}; how long they take is known once one is finished"
        return f"{units}, about {self.minutes:.0f} minutes{unknown}"


def estimate(units: Sequence[tuple[str, str]], study: str, folders: Mapping[str, Path], rounds: int) -> Estimate:
    """The time of (suite, arm or world model) units, shared stages once per suite and only where none is finished.

    rounds: of practice in imagination (`Recipe.practice_rounds`).
    """
    timed = seconds_by_kind(list(folders.values()))
    total, untimed, planned = 0.0, set(), set()
    for suite, name in units:
        for kind in _kinds(study, name, rounds):
            if kind in SHARED:
                variant = name if kind in ("world_model", "reward") and _own_world_model(study, name) else ""
                if (suite, kind, variant) in planned:
                    continue
                planned.add((suite, kind, variant))
                if not variant and any(_finished(folders[suite], kind)):
                    continue
            if kind in timed:
                total += mean(timed[kind])
            else:
                untimed.add(kind)
    return Estimate(len(units), total / 60, tuple(sorted(untimed)))


def seconds_by_kind(folders: Sequence[Path]) -> dict[str, list[float]]:
    """Kind of stage -> seconds of each finished one."""
    found: dict[str, list[float]] = {}
    for folder in folders:
        for record in sorted(folder.glob("*/outputs.json")):
            found.setdefault(record.parent.name.rsplit("-", 1)[0], []).append(float(read_json(record)["seconds"]))
    return found


def _finished(folder: Path, kind: str) -> list[Path]:
    return [p for p in folder.glob(f"{kind}-*/outputs.json") if p.parent.name.rsplit("-", 1)[0] == kind]


def _own_world_model(study: str, name: str) -> bool:
    if study in ("world-model", "corrections", "agreement"):
        return study != "corrections" and name != "full"
    arm = find_arm(name)
    return not (arm.anchor and arm.noisy_context)


_WORLD_MODEL = ("collect_base", "autoencoder", "world_model")


def _kinds(study: str, name: str, rounds: int) -> list[str]:
    """The kinds of stages that a unit goes through, repeated as often as they are."""
    if study == "world-model":
        return ["collect", "sft", *_WORLD_MODEL, "collect_long", "probe", "quality"]
    if study == "corrections":
        before = ["collect", "sft", *_WORLD_MODEL, "reward", "keyframes", "rl", "collect_new"]
        before += ["keyframes", "imagine", "audit"]
        judging = ["imagine", "audit", "evaluate"]
        return [*before, "audit_keyframes", *judging, "refine", "rl", "measure", *judging]
    if study == "agreement":
        return ["collect", "sft", *_WORLD_MODEL, "reward", "keyframes", "agreement"]
    arm = find_arm(name)
    if study == "hallucination":
        return ["collect", "sft", *_training(arm, rounds), "audit_keyframes", "imagine", "audit", "hallucination"]
    kinds = ["collect", "sft", *_training(arm, rounds), "evaluate"]
    return [*kinds, "audit_keyframes", "imagine", "audit"] if study == "ablations" and name != "base" else kinds


def _training(arm: Arm, rounds: int) -> list[str]:
    if arm.practice == "none":
        return []
    if arm.practice == "real":
        return ["online"]
    refined = ["collect_new", "refine", "keyframes"]
    if arm.pace:
        practice = ["keyframes", "rl", *(rounds - 1) * [*refined, "rl"]]
    else:
        practice = [*refined, *rounds * ["rl"]]
    return [*_WORLD_MODEL, "reward", *practice]
