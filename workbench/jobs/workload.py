"""How much work a stage is, and how long such work took on this machine: measured in earlier runs, or not known."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from wovr_core.errors import CorruptFileError
from wovr_core.files import read_json
from wovr_core.rounds import plain_stage
from wovr_core.stages.folder import read_metrics

Config = Mapping[str, Any]
"""A whole recipe as JSON."""
Parts = dict[str, float]
"""Units of work by part: a training loop is a part by its phase's name, "" is what else the stage does."""

_NEAREST = 3
_FAR = 8.0
"""Other settings with so many times less, or more, work say nothing of the pace: starting outweighs a tiny stage."""


@dataclass(frozen=True)
class Workload:
    """A stage's kind of work."""

    config: str
    """The recipe's key that configures it."""
    units: Callable[[Config], Parts]
    counts: tuple[str, ...] = ()
    """Keys below its config that only say how much: stages that differ in these alone have one pace."""
    grows: bool = True
    """Whether what it leaves on the disk grows with its work (episodes, rollouts), or not (a model)."""


def _pixels(config: Config) -> float:
    return float((config["env"]["size"] / 64) ** 2)


def _tasks(config: Config) -> int:
    return len(config["tasks"])


def _episodes(key: str, count: str) -> Callable[[Config], Parts]:
    return lambda c: {"": c[key][count] * _tasks(c) * (c[key].get("max_steps") or 1)}


def _loop(c: Config, *path: str) -> float:
    for part in path:
        c = c[part]
    return float(c["steps"] * c["batch"])


def _rollouts(c: Config) -> float:
    return float(c["imagine"]["starts"] * c["imagine"]["group_size"])


_POLICY_EPISODES = ("episodes",)
_RL = Workload(
    "rl",
    lambda c: {"training": c["rl"]["updates"] * c["rl"]["groups"] * c["rl"]["group_size"] * c["rl"]["chunks"], "": 1},
    ("updates", "groups", "group_size", "chunks"),
)
_KEYFRAMES = Workload("keyframes", lambda c: {"": 1}, ("count",), False)
_EVALUATE = Workload("evaluate", _episodes("evaluate", "trials"), ("trials",))
_COLLECT_EVOLVED = Workload("collect_evolved", _episodes("collect_evolved", "episodes"), _POLICY_EPISODES)

WORKLOADS: dict[str, Workload] = {
    "collect": Workload(
        "collect",
        lambda c: {"": (c["collect"]["clean"] + c["collect"]["faulty"]) * _tasks(c) * _pixels(c)},
        ("clean", "faulty"),
    ),
    "sft": Workload("sft", lambda c: {"training": _loop(c, "sft") * _pixels(c), "": 1}, ("steps",), False),
    "collect_base": Workload("collect_base", _episodes("collect_base", "episodes"), _POLICY_EPISODES),
    "evaluate_base": _EVALUATE,
    "world_model": Workload(
        "world_model",
        lambda c: {
            "autoencoder": _loop(c, "world_model", "autoencoder") * _pixels(c),
            "transformer": _loop(c, "world_model", "transformer") * _pixels(c),
            "": 1,
        },
        ("autoencoder.steps", "transformer.steps"),
        False,
    ),
    "reward": Workload("reward", lambda c: {"training": _loop(c, "reward") * _pixels(c), "": 1}, ("steps",), False),
    "keyframes": _KEYFRAMES,
    "rl": _RL,
    "collect_evolved": _COLLECT_EVOLVED,
    "refine": Workload(
        "refine",
        lambda c: {"transformer": _loop(c, "refine", "transformer") * _pixels(c), "": 1},
        ("transformer.steps",),
        False,
    ),
    "keyframes_evolved": _KEYFRAMES,
    "rl_evolved": _RL,
    "imagine": Workload(
        "imagine", lambda c: {"": _rollouts(c) * c["imagine"]["chunks"]}, ("starts", "group_size", "chunks")
    ),
    "audit": Workload("audit", lambda c: {"": _rollouts(c) * c["imagine"]["chunks"]}),
    "evaluate": _EVALUATE,
}
"""By the stage's name in the pipeline."""


@dataclass(frozen=True)
class Measured:
    """One finished stage of an earlier run on this machine."""

    run: str
    stage: str
    signature: str
    """Equal for stages that have one pace."""
    units: Parts
    seconds: Parts
    megabytes: float


def measured_stages(runs: Path, machine: Mapping[str, Any]) -> list[Measured]:
    """Every finished stage below `runs` that was made on a machine like this one."""
    found = []
    for path in sorted(runs.glob("*/run.json")):  # other things lie there too: the starter pack's lock, for one
        with contextlib.suppress(CorruptFileError, KeyError, TypeError, ValueError):
            record = read_json(path)
            if record["machine"] == dict(machine):
                found += list(_of_run(path.parent, record["config"]))
    return found


def _of_run(folder: Path, config: Config) -> Iterator[Measured]:
    for stage, workload in WORKLOADS.items():
        with contextlib.suppress(CorruptFileError, KeyError, TypeError, ValueError):
            total = float(read_json(folder / stage / "outputs.json")["seconds"])
            made_with = {**config, workload.config: read_json(folder / stage / "config.json")["config"]}
            units = workload.units(made_with)
            seconds = _part_seconds(folder / stage, units, total)
            yield Measured(folder.name, stage, signature(stage, made_with), units, seconds, folder_mb(folder / stage))


def _part_seconds(stage: Path, units: Parts, total: float) -> Parts:
    """Each loop's time: from the line before its first to its last, its first steps estimated by its pace."""
    seconds: Parts = {}
    lines = read_metrics(stage / "metrics.jsonl")
    for part in filter(None, units):
        own = [line for line in lines if line["phase"] == part]
        if own:
            pace = float(own[-1].get("steps_per_second") or 0.0)
            spent = own[-1]["step"] / pace if pace else own[-1]["seconds"]
            seconds[part] = min(float(spent), total - sum(seconds.values()))
    if "" in units:
        seconds[""] = max(0.0, total - sum(seconds.values()))
    return seconds


def signature(stage: str, config: Config) -> str:
    """What decides a stage's pace: its configuration without its counts, and the frames."""
    workload = WORKLOADS[plain_stage(stage)]
    own = json.loads(json.dumps(config[workload.config]))
    for count in workload.counts:
        *path, last = count.split(".")
        part = own
        for name in path:
            part = part.get(name, {})
        part.pop(last, None)
    view = {name: config["env"].get(name) for name in ("size", "profile", "view", "suite")}
    return json.dumps([workload.config, own, view], sort_keys=True)


@dataclass(frozen=True)
class Estimate:
    """Of a stage that was not run yet. None: nothing like it was measured on this machine."""

    seconds: float | None
    megabytes: float | None
    basis: str
    """In words: from what it was taken."""


def estimate(stage: str, config: Config, measured: Sequence[Measured]) -> Estimate:
    """From runs of the same configuration but for its counts; else, roughly, from others of the same stage."""
    workload = WORKLOADS.get(plain_stage(stage))
    if workload is None:
        return Estimate(None, None, "not measured")
    units = workload.units(config)
    kindred = [m for m in measured if WORKLOADS[m.stage].config == workload.config]
    same = [m for m in kindred if m.signature == signature(stage, config)]
    chosen = sorted(same or kindred, key=lambda m: _distance(units, m.units))[:_NEAREST]
    if not chosen:
        return Estimate(None, None, "not measured on this machine yet")
    near = [m for m in chosen if same or _distance(units, m.units) <= math.log(_FAR)]
    seconds = sum(_scaled(part, amount, near) for part, amount in units.items()) if near else None
    scale = median(sum(units.values()) / max(1e-9, sum(m.units.values())) for m in chosen)
    megabytes = median(m.megabytes for m in chosen) * (scale if workload.grows else 1.0)
    names = ", ".join(sorted({m.run for m in near or chosen}))
    if seconds is None:
        return Estimate(None, megabytes, f"not measured on this machine yet, but for other sizes in {names}")
    return Estimate(seconds, megabytes, f"measured in {names}" if same else f"rough, from other settings in {names}")


def _distance(units: Parts, others: Parts) -> float:
    return abs(math.log(max(1e-9, sum(units.values())) / max(1e-9, sum(others.values()))))


def _scaled(part: str, amount: float, measured: Sequence[Measured]) -> float:
    paces = [m.seconds[part] / m.units[part] for m in measured if m.units.get(part) and part in m.seconds]
    return median(paces) * amount if paces else 0.0


def folder_mb(path: Path) -> float:
    """What the files below it take on the disk."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.lstat().st_blocks * 512 if not file.is_dir() else 0
    return total / 1e6
