"""What the tour's steps are made of: one run's files, and the forms in which numbers are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.run_data import RunData
from wovr_core.data.episode_files import SUFFIX, read_rollout
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.statistics import proportion_interval
from wovr_core.types import Rollout

PAPER = "WoVR, arXiv 2602.13977"


@dataclass(frozen=True)
class Step:
    """One stop of the tour."""

    key: str
    title: str
    says: tuple[str, ...]
    """Paragraphs."""
    piece: Mapping[str, Any]
    """{kind: "scrubber" | "lines" | "threshold" | "bars" | "table" | "group" | "mask" | "trials", ...}"""
    notes: str
    sources: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What the paragraphs quote."""

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "key": self.key,
            "title": self.title,
            "says": list(self.says),
            "piece": dict(self.piece),
            "notes": self.notes,
            "sources": list(self.sources),
        }


@dataclass(frozen=True)
class Material:
    """What the steps are made of."""

    data: RunData
    rollouts: Mapping[str, Rollout]
    rows: Sequence[Mapping[str, Any]]
    """Audit rows of the rollouts that are there."""
    all_rows: Sequence[Mapping[str, Any]]
    """Of every rollout that was audited."""

    def outputs(self, stage: str) -> dict[str, Any]:
        """Raises Missing."""
        found = self.data.outputs(stage)
        if found is None:
            raise Missing(stage)
        return found

    def config(self, *path: str) -> Any:
        """A value of the run's configuration. Raises Missing."""
        value: Any = self.data.description.get("config", {})
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                raise Missing(".".join(path))
            value = value[name]
        return value


class Missing(WovrError):
    """A run lacks what a step is about."""


def read_material(run: Path) -> Material:
    """Raises as `tour`."""
    data = RunData(run)
    rows = [row for row in data.audit_rows() if _rollout_path(run, row).is_file()]
    if not rows:
        raise WovrError(f"{run} holds no audited rollout; open the starter pack, or make a run with `wovr demo`")
    try:
        return Material(
            data=data,
            rollouts={str(row["rollout_id"]): read_rollout(_rollout_path(run, row)) for row in rows},
            rows=rows,
            all_rows=data.all_audit_rows(),
        )
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{run / 'audit' / 'rows.json'} has a row that cannot be read ({error})") from error


def _rollout_path(run: Path, row: Mapping[str, Any]) -> Path:
    return run / "imagine" / "rollouts" / f"{row['rollout_id']}{SUFFIX}"


def rate(k: int, n: int) -> str:
    low, high = proportion_interval(k, n)
    return f"{k} of {n} ({100 * k / n:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %)" if n else "0 of 0"


def bar(title: str, k: int, n: int, tone: str = "") -> dict[str, Any]:
    low, high = proportion_interval(k, n) if n else (0.0, 1.0)
    return {"title": title, "k": k, "n": n, "low": low, "high": high, "tone": tone}


def pick(material: Material, *wanted: tuple[bool, bool]) -> Mapping[str, Any]:
    """The first row of these (imagined, real) outcomes, in order of preference, or any."""
    for imagined, real in wanted:
        for row in material.rows:
            if (row["imagined_success"], row["real_success"]) == (imagined, real):
                return row
    return material.rows[0]


def siblings(m: Material) -> list[Rollout]:
    groups: dict[str, list[Rollout]] = {}
    for rollout in m.rollouts.values():
        groups.setdefault(rollout.group_id, []).append(rollout)

    def worth(members: list[Rollout]) -> tuple[bool, int]:
        return len({r.imagined_success for r in members}) > 1, len(members)

    best = max(groups.values(), key=worth)
    if len(best) < 2:
        raise Missing("no group with two siblings")
    return sorted(best, key=lambda r: r.id)


def false_successes(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    imagined = [r for r in rows if r["imagined_success"]]
    return sum(not r["real_success"] for r in imagined), len(imagined)
