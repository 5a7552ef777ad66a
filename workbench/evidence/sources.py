"""Where a run keeps evidence about its rollouts: audits, label-free scores, a position probe.

A run has these stages under their plain names (`wovr run`) or under names with digests (`wovr reproduce`), so a
stage is known by what its files hold. Which rollouts an audit or a list of scores is about stands in its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.run_data import DIVERGENCE_THRESHOLD
from wovr_core.audit.hallucination import DISAGREEMENT
from wovr_core.data.episode_files import SUFFIX
from wovr_core.errors import WovrError
from wovr_core.files import fingerprint, read_json

_UNREADABLE = (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class AuditEntry:
    """What the audit says of one rollout."""

    stage: str
    replay: Path
    """It may not be there any more."""
    real_success: bool
    divergence: tuple[float, ...]
    """(N,) mean absolute pixel difference, of 255."""


@dataclass(frozen=True)
class ProbeSource:
    """A trained position probe."""

    path: Path
    version: str


@dataclass
class RunSources:
    """All evidence of one run that lies in small files. Built by `read_sources`."""

    run: Path
    signature: str
    threshold: float = DIVERGENCE_THRESHOLD
    """From which on a frame counts as divergent."""
    probe: ProbeSource | None = None
    problems: list[str] = field(default_factory=list)
    """Files that could not be read, and why."""
    _audits: dict[str, list[tuple[str | None, AuditEntry]]] = field(default_factory=dict)
    _scores: dict[str, list[tuple[str | None, Mapping[str, float]]]] = field(default_factory=dict)
    _versions: dict[str, str | None] = field(default_factory=dict)

    def audit(self, stage: str, rollout: str) -> AuditEntry | None:
        """The audit of the rollout `rollout` of stage `stage`."""
        return _of(self._audits.get(rollout, []), self._version(stage))

    def scores(self, stage: str, rollout: str) -> Mapping[str, float] | None:
        """Its label-free scores: name of wovr_core.audit.hallucination.SCORES -> value."""
        return _of(self._scores.get(rollout, []), self._version(stage))

    def _version(self, stage: str) -> str | None:
        if stage not in self._versions:
            self._versions[stage] = _value(self.run / stage / "outputs.json", "outputs", "version")
        return self._versions[stage]


def signature_of(run: Path) -> str:
    """Changes when any of the files does that `read_sources` reads."""
    stats = []
    for path in _files(run):
        try:
            stat = path.stat()
        except OSError:
            continue
        stats.append([str(path.relative_to(run)), stat.st_mtime_ns, stat.st_size])
    return fingerprint(stats)


def read_sources(run: Path) -> RunSources:
    """Reads them; a damaged file is reported in `problems` and the others serve."""
    sources = RunSources(run, signature_of(run))
    threshold = _value(run / "run.json", "config", "keyframes", "divergence_threshold")
    if isinstance(threshold, int | float):
        sources.threshold = float(threshold)
    for path in sorted(run.glob("*/rows.json")):
        try:
            _take_rows(sources, path)
        except _UNREADABLE as error:
            sources.problems.append(f"{path.parent.name}/{path.name}: {error}")
    for path in sorted(run.glob("*/probe/manifest.json")):
        try:
            outputs = read_json(path.parent.parent / "outputs.json")["outputs"]
            sources.probe = ProbeSource(path.parent, str(outputs["version"]))
        except _UNREADABLE as error:
            sources.problems.append(f"{path.parent.parent.name}: {error}")
    return sources


def _files(run: Path) -> Iterator[Path]:
    yield run / "run.json"
    for pattern in ("*/rows.json", "*/outputs.json"):
        yield from sorted(run.glob(pattern))


def _take_rows(sources: RunSources, path: Path) -> None:
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return
    about = _value(path.parent / "config.json", "inputs", "rollouts")
    if {"rollout_id", "divergence", "real_success"} <= rows[0].keys():
        for row in rows:
            name = str(row["rollout_id"])
            replay = path.parent / "episodes" / f"{row.get('real_episode_id', name)}{SUFFIX}"
            divergence = tuple(float(value) for value in row["divergence"])
            entry = AuditEntry(path.parent.name, replay, bool(row["real_success"]), divergence)
            sources._audits.setdefault(name, []).append((about, entry))
    elif {"rollout_id", "disagreement", *DISAGREEMENT} <= rows[0].keys():
        for row in rows:
            numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            sources._scores.setdefault(str(row["rollout_id"]), []).append((about, numbers))


def _of(found: list[tuple[str | None, Any]], version: str | None) -> Any:
    """The entry about this version; one that names no version will do, one about another will not."""
    fits = [entry for about, entry in found if about is None or version is None or about == version]
    return fits[-1] if fits else None


def _value(path: Path, *keys: str) -> Any:
    try:
        value = read_json(path)
        for key in keys:
            value = value[key]
    except _UNREADABLE:
        return None
    return value
