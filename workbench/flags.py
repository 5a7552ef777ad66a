"""Flags on imagined rollouts: the spans that people drew, and those that the audit draws by itself.

The audit's go into the run's annotation log like anybody's, by the author "audit" and under ids made of what they say:
adding them twice adds nothing, and one that somebody deleted or edited stays as that person left it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.corrections import FALSE, MISSED, Flag, Source, runs, success_run
from workbench.run_data import RunData
from workbench.scrubber.history import Event, History
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from wovr_core.data.episode_files import SUFFIX, read_episode, read_rollout_summary
from wovr_core.files import fingerprint

AUDITOR = "audit"
_PLAYBACK = 10.0
_SECONDS_PER_FLAG = 15.0


def audit_flags(source: Source, rows: Sequence[Mapping[str, Any]], threshold: float) -> list[Flag]:
    """What the audit's rows (audit/rows.json) find wrong.

    threshold: grey levels from which on imagination may have left reality. Where rollouts whose success is confirmed
    differ as much, it is raised to what nine in ten of them stay below: a little blur misleads nobody.

    A false success: the frames judged successful from the first one on, as far as the task is not really done after
    all, and, as "other", the frames before it in which imagination had left reality already. A missed success: the
    frames in which the task was really done.

    Raises CorruptFileError for a rollout or replay that cannot be read.
    """
    found: list[Flag] = []
    confirmed = [r for r in rows if r["imagined_success"] and r["real_success"]]
    peaks = [max(r["divergence"][: int(r["depth"]) + 1]) for r in confirmed]
    threshold = max(threshold, float(np.quantile(peaks, 0.9))) if peaks else threshold
    for row in rows:
        name, depth = str(row["rollout_id"]), int(row["depth"])
        if row["imagined_success"] and not row["real_success"]:
            summary = read_rollout_summary(source.rollouts / f"{name}{SUFFIX}")
            limit = float(summary.info["success_threshold"])
            first, last = success_run(summary.p_success, limit, depth)
            done = next((a for a, _ in _really_done(source, name) if a > first), last + 1)
            found.append(_flag(name, first, min(last, done - 1), FALSE, 3))
            left = next((k for k, d in enumerate(row["divergence"][:depth]) if d > threshold), None)
            if left is not None:
                found.append(_flag(name, left, depth - 1, "other", 1))
        elif row["real_success"] and not row["imagined_success"]:
            found += [_flag(name, max(a, 1), b, MISSED, 2) for a, b in _really_done(source, name)[:1]]
    return found


def _really_done(source: Source, rollout: str) -> list[tuple[int, int]]:
    """(first, last) frame of each stretch in which the replay's task is done; none without a replay."""
    replay = source.replay(rollout)
    return [] if replay is None else [(a, b) for a, b in runs(read_episode(replay).success) if b > 0]


def _flag(rollout: str, first: int, last: int, label: str, severity: int) -> Flag:
    span = f"audit-{fingerprint([rollout, first, last, label])}"
    return Flag(rollout, span, 1, first, last, label, severity, AUDITOR)


def add_audit_flags(run: Path, source: Source) -> int:
    """Write the audit's flags into the run's annotation log; returns how many were new.

    Raises CorruptFileError for an audit or log that cannot be read.
    """
    data = RunData(run)
    flags = audit_flags(source, data.audit_rows(), data.divergence_threshold)
    if not flags:
        return 0

    def plan(history: History) -> list[Event]:
        return list(_events(flags, history))

    return len(SpanLog(run / LOG_NAME).extend(plan))


def _events(flags: Sequence[Flag], history: History) -> Iterator[Event]:
    for flag in flags:
        if history.version(flag.rollout, flag.span):
            continue
        message = {"event": f"put-{flag.span}", "op": "put", "version": 1, "span": span_of_flag(flag)}
        yield history.parse(message, rollout=flag.rollout, author=flag.author, frames=None)


def span_of_flag(flag: Flag) -> dict[str, Any]:
    """The span that the audit draws for one of its flags, as an edit carries it."""
    note = "imagination has left reality" if flag.label == "other" else "found by replaying the actions"
    span = {"id": flag.span, "start": flag.first, "end": flag.last, "label": flag.label}
    return span | {"severity": flag.severity, "note": note}


def logged_flags(run: Path, source: Source) -> list[Flag]:
    """All present spans on the source's rollouts, whoever drew them."""
    if not (run / LOG_NAME).is_file():
        return []
    log = SpanLog(run / LOG_NAME)
    there = {path.stem for path in source.rollouts.glob(f"*{SUFFIX}")}
    return [
        Flag(rollout, s.id, s.version, s.start, s.end, s.label, s.severity, s.author)
        for rollout in log.rollouts()
        if rollout in there
        for s in log.spans(rollout)
    ]


def annotation_minutes(watched: Sequence[int], flags: int) -> float:
    """About how long a person takes: each rollout watched once at half speed, and a quarter of a minute a flag.

    watched: frames of each rollout that has to be looked at. An assumption, not a measurement.
    """
    return round((sum(watched) / _PLAYBACK + flags * _SECONDS_PER_FLAG) / 60, 1)
