"""Reads a run folder's files into items, by headers alone."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.forks.keep import STAGE as BRANCHES
from workbench.forks.keep import rows as kept_forks
from workbench.run_data import RunData
from workbench.store.items import AUDITED, BRANCH, PRACTICE, REAL, Audit, Item
from wovr_core.audit.outcomes import first_success_step
from wovr_core.data.episode_files import SUFFIX, read_episode_summary, read_rollout_summary
from wovr_core.errors import CorruptFileError

_STAGES = ("imagine", "rl", "rl_evolved", "collect", "collect_base", "collect_evolved", "evaluate_base", "evaluate")
"""The pipeline's, in the order in which they are shown; others follow by name."""
_IMAGINED = {"imagine": AUDITED, BRANCHES: BRANCH}
"""Stages whose rollouts are no practice."""
_REPLAYS = "audit"
_EXPERTS = {"expert": "scripted expert", "expert_fault": "scripted expert, with a fault"}


@dataclass(frozen=True)
class RunFile:
    """One file of a run that holds a record."""

    stage: str
    kind: str
    path: Path
    size: int
    mtime_ns: int

    @property
    def stamp(self) -> str:
        """32 hex digits that change with the file."""
        text = f"{self.path}\0{self.mtime_ns}\0{self.size}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def record_folders(run: Path) -> list[tuple[str, str, Path]]:
    """(stage, kind, folder) of all places where records lie, audited rollouts first. Replays go with their rollouts."""
    with os.scandir(run) as entries:
        found = {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    stages = [stage for stage in _STAGES if stage in found] + sorted(found - {*_STAGES, _REPLAYS})
    places = [(stage, _IMAGINED.get(stage, PRACTICE), run / stage / "rollouts") for stage in stages]
    places += [(stage, REAL, run / stage / "episodes") for stage in stages]
    return [place for place in places if place[2].is_dir()]


def files_in(stage: str, kind: str, folder: Path) -> list[RunFile]:
    """The records of one folder, by name."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and not entry.name.startswith(".") and entry.is_file():
                stat = entry.stat()
                found.append(RunFile(stage, kind, Path(entry.path), stat.st_size, stat.st_mtime_ns))
    return sorted(found, key=lambda file: file.path.name)


def read_item(run: str, file: RunFile, names: Mapping[tuple[str, str], str]) -> Item:
    """The item behind a file, by its header. A file that cannot be read becomes a broken item."""
    path = file.path
    bare = Item(f"{run}/{file.stage}/{path.stem}", run, file.stage, path.stem, file.kind, path, file.stamp)
    try:
        return _read_episode(bare, names) if file.kind == REAL else _read_rollout(bare, names)
    except CorruptFileError as error:
        return replace(bare, broken=str(error).replace(f"{path.parent}{os.sep}", ""))
    except (KeyError, TypeError, ValueError, OSError) as error:
        return replace(bare, broken=f"{path.name} has metadata that this version does not understand ({error})")


def _read_rollout(item: Item, names: Mapping[tuple[str, str], str]) -> Item:
    summary = read_rollout_summary(item.path)
    threshold = float(summary.info.get("success_threshold", "nan"))
    policy, world_model = (_text(summary.versions.get(what, "")) for what in ("policy", "world_model"))
    step = first_success_step(summary.p_success, threshold)
    return replace(
        item,
        name=_text(summary.id),
        suite_task=str(summary.task),
        instruction=_text(summary.task.instruction),
        length=summary.length,
        depth=summary.length if step is None else step,
        success=bool(summary.imagined_success),
        policy=named("policy", policy, names),
        world_model=named("world_model", world_model, names),
        versions=tuple((str(what), str(version)) for what, version in sorted(summary.versions.items())),
        policy_version=policy,
        world_model_version=world_model,
        group=_text(summary.group_id),
        start=f"{summary.start.episode_id} frame {summary.start.step}",
        start_episode=_text(summary.start.episode_id),
        start_step=int(summary.start.step),
        reason=_text(summary.info.get("keyframe", "")).replace("_", " "),
        p_success=round(float(summary.p_success.max()), 4),
        reward=float(summary.reward),
        threshold=None if math.isnan(threshold) else threshold,
    )


def _read_episode(item: Item, names: Mapping[tuple[str, str], str]) -> Item:
    summary = read_episode_summary(item.path)
    source = _text(summary.source)
    actor = named("policy", source, names)
    facts = tuple((str(k).replace("_", " "), str(v)) for k, v in sorted(summary.info.items()))
    return replace(
        item,
        name=_text(summary.id),
        suite_task=str(summary.task),
        instruction=_text(summary.task.instruction),
        length=int(summary.length),
        depth=int(summary.length),
        success=bool(summary.succeeded),
        policy=_EXPERTS.get(source, actor),
        versions=facts,
        policy_version=source if source not in _EXPERTS else "",
        start=_text(summary.info.get("start", "")),
        source=source,
        seed=int(summary.seed),
    )


def named(what: str, version: str, names: Mapping[tuple[str, str], str]) -> str:
    """The version as people know it."""
    return names.get((what, version), str(version))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def read_audits(data: RunData) -> dict[str, Audit]:
    """Rollout id -> what its actions really led to. Raises CorruptFileError."""
    threshold = data.divergence_threshold
    found: dict[str, Audit] = {}
    for stage, rows in (("audit", data.audit_rows()), (BRANCHES, kept_forks(data.path))):
        try:
            for row in rows:
                divergence = [float(value) for value in row["divergence"]]
                found[str(row["rollout_id"])] = Audit.of(bool(row["real_success"]), divergence, threshold)
        except (KeyError, TypeError, ValueError) as error:
            path = data.path / stage / "rows.json"
            raise CorruptFileError(f"{path} has a row that cannot be read ({error})") from error
    return found
