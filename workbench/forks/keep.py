"""Kept forks: ordinary rollouts in the run's own stage folder `branches`, their replays and audit beside them.

branches/config.json, outputs.json    as of any stage; outputs.version changes with every fork
branches/rollouts/ID.safetensors      the fork; its info says of what, where and by whom it was branched
branches/replays/ID.safetensors       what its actions really led to, where they were executed
branches/rows.json                    one audit row for each replay, as in audit/rows.json
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wovr_core
from wovr_core.audit.outcomes import audit_rollout
from wovr_core.data.episode_files import SUFFIX, EpisodeSet, write_episode, write_rollout
from wovr_core.errors import WovrError
from wovr_core.files import explain_disk_errors, read_json, write_json
from wovr_core.stages.folder import SCHEMA
from wovr_core.types import Episode, Rollout

STAGE = "branches"
REPLAYS = "replays"
ROWS = "rows.json"


def keep(run: Path, rollout: Rollout, replay: Episode | None = None) -> Path:
    """Write a fork, and its replay if there is one, into its run; returns the rollout's path.

    Keeping it again adds a replay that was not there, and changes nothing else. Raises WovrError when the disk does not
    take it.
    """
    stage = run / STAGE
    with _alone(stage):
        path = stage / "rollouts" / f"{rollout.id}{SUFFIX}"
        if not path.exists():
            write_rollout(stage / "rollouts", rollout)
        if replay is not None:
            write_episode(stage / REPLAYS, replay)
            row = audit_row(rollout, replay)
            others = [r for r in rows(run) if r["rollout_id"] != rollout.id]
            write_json(stage / ROWS, [*others, row])
        _record(run, stage)
    return path


def forget(run: Path, rollout_id: str) -> bool:
    """Take a kept fork back; whether there was one. Raises WovrError for one that was annotated meanwhile."""
    from workbench.scrubber.span_log import LOG_NAME, SpanLog

    stage = run / STAGE
    path = stage / "rollouts" / f"{rollout_id}{SUFFIX}"
    if Path(rollout_id).name != rollout_id or not path.is_file():
        return False
    if (run / LOG_NAME).is_file() and SpanLog(run / LOG_NAME).spans(rollout_id):
        raise WovrError(f"{rollout_id} was annotated meanwhile, and stays; delete its spans first")
    with _alone(stage):
        path.unlink(missing_ok=True)
        (stage / REPLAYS / path.name).unlink(missing_ok=True)
        if (stage / ROWS).is_file():
            write_json(stage / ROWS, [r for r in rows(run) if r["rollout_id"] != rollout_id])
        _record(run, stage)
    return True


def rows(run: Path) -> list[dict[str, Any]]:
    """The audit rows of kept forks."""
    path = run / STAGE / ROWS
    return list(read_json(path)) if path.is_file() else []


def audit_row(rollout: Rollout, replay: Episode) -> dict[str, Any]:
    """As the audit writes it."""
    audited = audit_rollout(rollout, replay)
    return asdict(audited) | {
        "task": str(audited.task),
        "divergence": [round(float(d), 3) for d in audited.divergence],
    }


def _record(run: Path, stage: Path) -> None:
    kept = EpisodeSet(stage / "rollouts")
    imagined = run / "imagine" / "outputs.json"
    parent = read_json(imagined)["outputs"].get("version") if imagined.is_file() else None
    inputs = {"rollouts": parent} if isinstance(parent, str) else {}
    record = {"schema": SCHEMA, "wovr": wovr_core.__version__, "stage": STAGE, "config": {}, "inputs": inputs}
    write_json(stage / "config.json", record)
    outputs = {"rollouts": str(stage / "rollouts"), "version": kept.write_index(), "count": len(kept)}
    write_json(stage / "outputs.json", {"outputs": outputs, "seconds": 0.0})


@contextmanager
def _alone(stage: Path) -> Iterator[None]:
    with explain_disk_errors(stage):
        stage.mkdir(parents=True, exist_ok=True)
        with (stage / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
