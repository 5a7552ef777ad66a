"""Reads one run folder into catalogue items, by headers alone and only where files have changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.catalogue.items import AUDITED, PRACTICE, REAL, Audit, Item
from workbench.run_data import RunData
from wovr_core.audit.outcomes import first_success_step
from wovr_core.data.episode_files import SUFFIX, read_episode_summary, read_rollout_summary
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json

DIVERGENCE_THRESHOLD = 12.0
"""Where a run's recipe names none."""

_ROLLOUTS = {"imagine": AUDITED, "rl": PRACTICE, "rl_evolved": PRACTICE}
_EPISODES = ("collect", "collect_base", "collect_evolved", "evaluate_base", "evaluate")
_NAMES = {
    "sft": ("policy", "base"),
    "rl": ("policy", "round 1"),
    "rl_evolved": ("policy", "round 2"),
    "world_model": ("world_model", "first"),
    "refine": ("world_model", "refined"),
}


@dataclass
class RunReader:
    """One run folder, read again and again. Not safe for several threads at once."""

    key: str
    """The run's name in the catalogue."""
    path: Path
    _seen: dict[Path, Item] = field(default_factory=dict)

    def items(self) -> list[Item]:
        """All of them, audited ones first.

        Raises:
            WovrError: the run as a whole cannot be read. A single broken file becomes a broken item.
        """
        data = RunData(self.path)
        audits = _audits(data)
        names = version_names(self.path)
        found: list[Item] = []
        for stage, kind in _ROLLOUTS.items():
            for path, stamp in _files(self.path / stage / "rollouts"):
                item = self._item(stage, kind, path, stamp, names)
                if kind == AUDITED:
                    replay = self.path / "audit" / "episodes" / path.name
                    audit = audits.get(item.name)
                    item = replace(item, audit=audit, replay=replay if audit and replay.is_file() else None)
                found.append(item)
        for stage in _EPISODES:
            found.extend(
                self._item(stage, REAL, path, stamp, names) for path, stamp in _files(self.path / stage / "episodes")
            )
        self._seen = {item.path: replace(item, audit=None, replay=None) for item in found}
        return found

    def _item(self, stage: str, kind: str, path: Path, stamp: str, names: Mapping[tuple[str, str], str]) -> Item:
        known = self._seen.get(path)
        if known is not None and known.stamp == stamp:
            return known
        bare = Item(f"{self.key}/{stage}/{path.stem}", self.key, stage, path.stem, kind, path, stamp)
        try:
            return _read_episode(bare, names) if kind == REAL else _read_rollout(bare, names)
        except CorruptFileError as error:
            return replace(bare, broken=str(error).replace(f"{path.parent}{os.sep}", ""))
        except (KeyError, TypeError, ValueError) as error:
            return replace(bare, broken=f"{path.name} has metadata that this version does not understand ({error})")


def version_names(run: Path) -> dict[tuple[str, str], str]:
    """(what, version) -> a name that says which stage made it, where one of the run's stages did."""
    names: dict[tuple[str, str], str] = {}
    for stage, (what, name) in _NAMES.items():
        manifest = run / stage / what / "manifest.json"
        try:
            version = str(read_json(manifest)["version"]) if manifest.is_file() else None
        except (WovrError, KeyError, TypeError):
            continue
        if version:
            names.setdefault((what, version), f"{name} · {version[:8]}")
    return names


def _read_rollout(item: Item, names: Mapping[tuple[str, str], str]) -> Item:
    summary = read_rollout_summary(item.path)
    threshold = float(summary.info.get("success_threshold", "nan"))
    step = first_success_step(summary.p_success, threshold)
    return replace(
        item,
        name=_text(summary.id),
        suite_task=str(summary.task),
        instruction=_text(summary.task.instruction),
        length=summary.length,
        depth=summary.length if step is None else step,
        success=bool(summary.imagined_success),
        policy=_named("policy", summary.versions.get("policy", ""), names),
        world_model=_named("world_model", summary.versions.get("world_model", ""), names),
        versions=tuple((str(what), _named(what, version, names)) for what, version in sorted(summary.versions.items())),
        start=f"{summary.start.episode_id} frame {summary.start.step}",
        reason=_text(summary.info.get("keyframe", "")).replace("_", " "),
        p_success=round(float(summary.p_success.max()), 4),
    )


def _read_episode(item: Item, names: Mapping[tuple[str, str], str]) -> Item:
    summary = read_episode_summary(item.path)
    source = _text(summary.source)
    actor = _named("policy", source, names)
    facts = tuple((str(k).replace("_", " "), str(v)) for k, v in sorted(summary.info.items()))
    return replace(
        item,
        name=_text(summary.id),
        suite_task=str(summary.task),
        instruction=_text(summary.task.instruction),
        length=int(summary.length),
        depth=int(summary.length),
        success=bool(summary.succeeded),
        policy={"expert": "scripted expert", "expert_fault": "scripted expert, with a fault"}.get(source, actor),
        versions=facts,
        start=_text(summary.info.get("start", "")),
    )


def _named(what: str, version: str, names: Mapping[tuple[str, str], str]) -> str:
    return names.get((what, version), str(version))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, stamp) of the folder's rollouts, by name."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        files = sorted((e for e in entries if e.name.endswith(SUFFIX) and e.is_file()), key=lambda e: e.name)
    for entry in files:
        stat = entry.stat()
        text = f"{entry.path}\0{stat.st_mtime_ns}\0{stat.st_size}"
        yield Path(entry.path), hashlib.sha256(text.encode()).hexdigest()[:32]


def _audits(data: RunData) -> dict[str, Audit]:
    config = data.description.get("config", {})
    threshold = float(config.get("keyframes", {}).get("divergence_threshold", DIVERGENCE_THRESHOLD))
    try:
        return {
            str(row["rollout_id"]): Audit(bool(row["real_success"]), tuple(map(float, row["divergence"])), threshold)
            for row in data.audit_rows()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{data.path / 'audit' / 'rows.json'} has a row that cannot be read ({error})"
        ) from error
