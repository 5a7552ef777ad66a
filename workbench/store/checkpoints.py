"""Which checkpoints a run holds, and what was made from what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.checkpoints import MANIFEST
from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.rounds import in_rounds

_VERSIONED = {
    "policy": "policy",
    "world_model": "world_model",
    "reward": "reward",
    "keyframes": "keyframes",
    "episodes": "episodes",
    "demonstrations": "episodes",
    "rollouts": "rollouts",
    "corrections": "corrections",
}
"""Inputs that are versions of something (a seed is none) -> of what."""
_MADE = ("keyframes", "episodes", "rollouts")
"""What a stage's `version` may be of, beside checkpoints: the output of that name says where it lies."""


@dataclass(frozen=True)
class FoundCheckpoint:
    """One complete checkpoint folder."""

    stage: str
    kind: str
    version: str
    path: str
    """Within the run."""
    title: str
    lineage: Mapping[str, str]


@dataclass(frozen=True)
class Edge:
    """`child` was made with `parent`."""

    stage: str
    child_kind: str
    child: str
    role: str
    parent_kind: str
    parent: str


def find_checkpoints(run: Path) -> list[FoundCheckpoint]:
    """Complete checkpoints at <stage>/<name>, in the order in which the pipeline makes them, other stages' last.

    Damaged manifests are passed over: loading them says why.
    """
    found, titles = [], _titles(run)
    for manifest in sorted(run.glob(f"*/*/{MANIFEST}")):
        stage, folder = manifest.parts[-3], manifest.parts[-2]
        if stage.startswith(".") or folder.startswith("."):
            continue  # being written, or stepping aside
        try:
            record = read_json(manifest)
            kind, version = str(record.get("kind", folder)), str(record["version"])
            lineage = {str(role): str(parent) for role, parent in dict(record.get("lineage", {})).items()}
        except (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError):
            continue
        title = _title(titles, stage, kind, version)
        found.append(FoundCheckpoint(stage, kind, version, f"{stage}/{folder}", title, lineage))
    order = {place: n for n, place in enumerate(titles)}
    return sorted(found, key=lambda c: order.get((c.stage, c.kind), len(order)))


def _titles(run: Path) -> dict[tuple[str, str], str]:
    """(stage, kind) -> what people call its checkpoint, in the order in which the pipeline makes them."""
    titles = {("sft", "policy"): "base", ("rl", "policy"): "round 1"}
    for number, stage in enumerate(in_rounds(run, "rl_evolved"), start=2):
        titles[stage, "policy"] = f"round {number}"
    refinements = in_rounds(run, "refine")
    for kind in ("world_model", "reward"):
        titles[kind, kind] = "first"
        for number, stage in enumerate(refinements, start=1):
            titles[stage, kind] = f"refined {number}" if len(refinements) > 1 else "refined"
    return titles


def _title(titles: Mapping[tuple[str, str], str], stage: str, kind: str, version: str) -> str:
    return f"{titles.get((stage, kind), stage)} · {version[:8]}"


def checkpoints_of(run: Path, kind: str) -> list[FoundCheckpoint]:
    """The versions of one kind, each once: where the stage that made it first keeps it."""
    unique: dict[str, FoundCheckpoint] = {}
    for checkpoint in find_checkpoints(run):
        if checkpoint.kind == kind:
            unique.setdefault(checkpoint.version, checkpoint)
    return list(unique.values())


def version_titles(found: list[FoundCheckpoint]) -> dict[tuple[str, str], str]:
    """(kind, version) -> what people call it; the stage that made a version first names it.

    found: as `find_checkpoints` orders them.
    """
    titles: dict[tuple[str, str], str] = {}
    for checkpoint in found:
        titles.setdefault((checkpoint.kind, checkpoint.version), checkpoint.title)
    return titles


def titles_in(run: Path) -> dict[tuple[str, str], str]:
    """(kind, version) -> what people call it: of the checkpoints in a run, and of those that its stages say they made,
    though they are not here (a starter pack leaves most of them out)."""
    titles, stages = version_titles(find_checkpoints(run)), _titles(run)
    for stage, kind in stages:
        try:
            outputs: Any = read_json(run / stage / "outputs.json")["outputs"]
            version = outputs.get("version") if kind in outputs else None
        except (WovrError, OSError, KeyError, TypeError, AttributeError):
            continue
        if isinstance(version, str) and version:
            titles.setdefault((kind, version), _title(stages, stage, kind, version))
    return titles


def find_edges(run: Path, checkpoints: list[FoundCheckpoint]) -> list[Edge]:
    """Of the checkpoints' manifests, and of the stages that made keyframes, rollouts or episodes."""
    edges = [
        Edge(checkpoint.stage, checkpoint.kind, checkpoint.version, role, kind, parent)
        for checkpoint in checkpoints
        for role, kind, parent in _parents(checkpoint.kind, checkpoint.lineage)
    ]
    for outputs in sorted(run.glob("*/outputs.json")):
        made = {checkpoint.version for checkpoint in checkpoints if checkpoint.stage == outputs.parent.name}
        edges.extend(edge for edge in _stage_edges(outputs.parent) if edge.child not in made)
    return list(dict.fromkeys(edges))


def _stage_edges(stage: Path) -> Iterator[Edge]:
    try:
        inputs: Any = read_json(stage / "config.json")["inputs"]
        outputs: Any = read_json(stage / "outputs.json")["outputs"]
        version = outputs.get("version")
        kind = next(made for made in _MADE if made in outputs)
        given = {str(role): str(parent) for role, parent in dict(inputs).items()}
    except (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return
    if not isinstance(version, str):
        return
    for role, parent_kind, parent in _parents(kind, given):
        yield Edge(stage.name, kind, version, role, parent_kind, parent)


def _parents(kind: str, lineage: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(role, kind, version) of each; sets of several versions stand separated by commas."""
    for role, value in sorted(lineage.items()):
        parent_kind = kind if role == "parent" else _VERSIONED.get(role)
        if parent_kind is not None:
            yield from ((role, parent_kind, part) for part in value.split(",") if part)
