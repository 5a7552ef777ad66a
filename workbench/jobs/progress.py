"""How far a run is, from its folder alone: which stages are done, the running one's step of how many, its curve."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from workbench.jobs.backend import MetricsChunk
from wovr_core.errors import CorruptFileError
from wovr_core.files import read_json

_HISTORY = 120
NOT_CURVES = ("stage", "phase", "step", "seconds", "steps_per_second")
"""Keys of a metrics line that are no measure."""
_CURVES = ("loss", "imagined_success_rate", "success", "success_rate", "psnr")
"""Which metric a curve shows, the first that a stage has; else its first of all."""

Totals = Callable[[Mapping[str, Any], int], Mapping[str, int]]

# By the stage's name in its config.json: phase -> steps, of its config and the number of tasks.
TOTALS: dict[str, Totals] = {
    "collect": lambda c, tasks: {"": (c["clean"] + c["faulty"]) * tasks},
    "collect_policy": lambda c, tasks: {"": c["episodes"] * tasks},
    "train_policy_sft": lambda c, tasks: {"training": c["steps"]},
    "train_world_model": lambda c, tasks: {
        "autoencoder": c["autoencoder"]["steps"],
        "transformer": c["transformer"]["steps"],
    },
    "train_reward": lambda c, tasks: {"training": c["steps"]},
    "train_policy_rl": lambda c, tasks: {"training": c["updates"]},
    "refine_world_model": lambda c, tasks: {"transformer": c["transformer"]["steps"], "training": c["reward_steps"]},
    "evaluate": lambda c, tasks: {"": c["trials"] * tasks},
    "imagine": lambda c, tasks: {"": c["starts"] * c["group_size"]},
    "select_keyframes": lambda c, tasks: {"": c["count"]},
}


@dataclass(frozen=True)
class Progress:
    """Of a run, at one moment."""

    stage: str
    """The one that it is at, or was at last; "" before the first."""
    phase: str
    done: int
    """Stages that are finished, of those asked about."""
    stages: int
    """How many were asked about."""
    step: int = 0
    total: int | None = None
    """Steps of this phase, where known."""
    seconds_left: float | None = None
    """Of this phase at its latest pace."""
    curve_name: str = ""
    curve: tuple[float, ...] = ()

    @property
    def fraction(self) -> float | None:
        """Of this phase, 0 to 1."""
        return min(1.0, self.step / self.total) if self.total else None


class RunProgress:
    """Collects what `JobBackend.metrics` gives and looks into the run's folder for the rest."""

    def __init__(self, run: Path, stages: Sequence[str] = ()) -> None:
        self._run = run
        self._stages = tuple(stages)
        self._lines: dict[tuple[str, str], deque[dict[str, Any]]] = {}

    def add(self, chunk: MetricsChunk) -> None:
        """Take in new lines; those of a stage that resumed replace its earlier ones."""
        for stage in chunk.restarted:
            self._lines = {key: lines for key, lines in self._lines.items() if key[0] != stage}
        for line in chunk.lines:
            key = (line["stage"], str(line.get("phase", "")))
            self._lines.setdefault(key, deque(maxlen=_HISTORY)).append(line)

    def now(self) -> Progress:
        """As it stands. Reads a few small files."""
        names = self._stages or self._begun()
        finished = [name for name in names if (self._run / name / "outputs.json").is_file()]
        begun = [name for name in names if (self._run / name / "config.json").is_file()]
        stage = next((name for name in begun if name not in finished), begun[-1] if begun else "")
        phases = [phase for name, phase in self._lines if name == stage]
        phase = phases[-1] if phases else ""
        totals = self._totals(stage)
        lines = list(self._lines.get((stage, phase), ()))
        step = int(lines[-1].get("step") or 0) if lines else 0
        name, curve = _curve(lines)
        total = totals.get(phase)
        if not lines and totals:
            phase, total = next(iter(totals.items()))
        left = None if total is None else _seconds_left(lines, total)
        return Progress(stage, phase, len(finished), len(names), step, total, left, name, curve)

    def _begun(self) -> list[str]:
        return [path.parent.name for path in sorted(self._run.glob("*/config.json"), key=_modified)]

    def _totals(self, stage: str) -> Mapping[str, int]:
        with contextlib.suppress(CorruptFileError, KeyError, TypeError, ValueError):
            record = read_json(self._run / stage / "config.json")
            tasks = str(record["inputs"].get("tasks", "[0]"))
            return TOTALS[record["stage"]](record["config"], tasks.count(",") + 1)
        return {}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _curve(lines: Sequence[Mapping[str, Any]]) -> tuple[str, tuple[float, ...]]:
    if not lines:
        return "", ()
    names = [name for name, value in lines[-1].items() if name not in NOT_CURVES and is_number(value)]
    wanted = (name for part in _CURVES for name in names if name == part or name.endswith(f"/{part}"))
    chosen = next(wanted, names[0] if names else "")
    return chosen, tuple(float(line[chosen]) for line in lines if chosen and is_number(line.get(chosen)))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a metrics line can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds_left(lines: Sequence[Mapping[str, Any]], total: int) -> float | None:
    """From the pace of the latest lines: `seconds` runs over all attempts of a stage."""
    recent = [line for line in lines[-8:] if is_number(line.get("seconds")) and is_number(line.get("step"))]
    if len(recent) < 2:
        return None
    steps, seconds = recent[-1]["step"] - recent[0]["step"], recent[-1]["seconds"] - recent[0]["seconds"]
    return float((total - recent[-1]["step"]) * seconds / steps) if steps > 0 and seconds >= 0 else None
