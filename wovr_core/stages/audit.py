"""Audit imagined rollouts: execute their actions in the simulator from the same instant, and compare."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from wovr_core.audit.outcomes import audit_rollout, summarise
from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_episode, read_rollout
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.execution import ReplayJob, replay, replay_job
from wovr_core.files import write_json
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.real_episodes import make_missing
from wovr_core.types import CHUNK


@dataclass(frozen=True)
class AuditConfig:
    tolerance: int = CHUNK
    """Actions by which a real success may come after the imagined one."""


@dataclass(frozen=True)
class AuditInputs:
    env: LiberoConfig
    rollouts: str
    """Folder of imagined rollouts."""
    version: str
    pool: JobPool


@dataclass(frozen=True)
class AuditOutputs:
    false_success: list[int]
    """[false, imagined successes]"""
    false_failure: list[int]
    """[false, imagined failures]"""
    by_depth: dict[str, list[int]]
    by_task: dict[str, list[int]]
    rows: str
    """JSON file with one row per rollout."""
    episodes: str
    """Folder of the real replays; each is named like its rollout."""


def run(
    config: AuditConfig, inputs: AuditInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> AuditOutputs:
    """Replay every rollout of the folder; resumes with those that are not on disk yet.

    Raises:
        NotReplayableError: a rollout began where no simulator was. Nothing is left out silently: a rate over the
            others would pass for one over all.
    """
    folder = StageFolder(out_dir, "audit", config, {"env": str(inputs.env), "rollouts": inputs.version}, on_metrics)
    finished = folder.outputs(AuditOutputs)
    if finished:
        return finished
    paths = EpisodeSet(Path(inputs.rollouts)).paths

    def job_of(name: str) -> ReplayJob:
        return replay_job(inputs.env, read_rollout(paths[name]))

    episodes = make_missing(folder, paths, replay, job_of, inputs.pool, "rollout")
    audited = [
        audit_rollout(read_rollout(path), read_episode(episodes / f"{name}{SUFFIX}"), config.tolerance)
        for name, path in paths.items()
    ]
    rows = [
        {**asdict(a), "task": str(a.task), "divergence": [round(float(d), 3) for d in a.divergence]} for a in audited
    ]
    write_json(folder.path / "rows.json", rows)
    summary = summarise(audited)
    false, imagined = summary.false_success.count, summary.false_success.total
    folder.log(
        len(audited),
        {"imagined_successes": imagined, "false_successes": false, "rollouts": len(audited)},
    )
    return folder.finish(
        AuditOutputs(
            false_success=[false, imagined],
            false_failure=[summary.false_failure.count, summary.false_failure.total],
            by_depth={k: [r.count, r.total] for k, r in summary.by_depth.items()},
            by_task={k: [r.count, r.total] for k, r in summary.by_task.items()},
            rows=str(folder.path / "rows.json"),
            episodes=str(episodes),
        )
    )
