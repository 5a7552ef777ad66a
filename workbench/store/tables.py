"""The tables. Rows are light summaries; frames, actions and weights stay in the files that the rows name.

    runs 1-n records (a file each), of which some are rollouts (imagined), the others episodes (executed)
    rollouts 1-1 audits
    runs 1-n checkpoints; lineage: which version was made from which
    runs 1-n annotation_events (append-only; a copy of the run's log) and annotations (what they amount to)
    jobs: the folders of jobs

Everything here can be made again from the files. A record's id, "run/stage/name", is what links carry.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables. Constraints have names, so that a later migration can change them."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Run(Base):
    """A run folder. It stays when the folder vanishes (a disk that is not mounted): annotations hang on it."""

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    """Its name in links: the folder's, with ~2 and so on where another run has that already."""
    path: Mapped[str] = mapped_column(unique=True)
    recipe: Mapped[str]
    wovr: Mapped[str]
    """Version of the program that made it."""
    made: Mapped[float]
    """When run.json was written, seconds since 1970."""
    signature: Mapped[str]
    """Changes with the run's small files (audit rows, manifests): tells whether they must be read again."""
    missing: Mapped[bool]
    """The folder was not there at the last look."""
    problem: Mapped[str | None]
    """Why the run as a whole cannot be read."""


class Record(Base):
    """One file: an episode or a rollout."""

    __tablename__ = "records"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    stage: Mapped[str]
    name: Mapped[str]
    """Its own id, as the file says."""
    kind: Mapped[str]
    """Key of items.KINDS."""
    path: Mapped[str]
    """Within the run's folder."""
    stamp: Mapped[str] = mapped_column(index=True)
    """Changes when the file does; names its pictures in caches."""
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    """As the stage's own index.json has it, or as `wovr store rebuild --verify` found it."""
    broken: Mapped[str | None]
    """Why the file cannot be read."""
    annotation_key: Mapped[str]
    """Under which the run's log keeps its annotations."""
    task: Mapped[str]
    instruction: Mapped[str]
    length: Mapped[int]
    depth: Mapped[int]
    depth_range: Mapped[str]
    success: Mapped[bool]
    outcome: Mapped[str]
    verdict: Mapped[str]
    rank: Mapped[int]
    """How telling it is, 0 the most: false successes, missed ones, ... unreadable ones last."""
    peak: Mapped[float]
    """Greatest divergence, -1 without an audit."""
    p_success: Mapped[float]
    """Greatest of its frames, -1 where there is none."""
    policy: Mapped[str]
    """For people; `policy_version` is the exact one."""
    world_model: Mapped[str]
    policy_version: Mapped[str]
    world_model_version: Mapped[str]
    reward_version: Mapped[str]
    keyframes_version: Mapped[str]
    start: Mapped[str]
    reason: Mapped[str]
    facts: Mapped[list[Any]]
    """[[what, value]]: the versions that made a rollout, or an episode's further metadata."""
    search: Mapped[str]
    """What a text filter looks through, folded to lower case."""

    __table_args__ = (
        Index("ix_records_run_stage", "run_id", "stage"),
        Index("ix_records_run_annotation_key", "run_id", "annotation_key"),
        Index("ix_records_suspicion", "rank", "peak", "id"),
        Index("ix_records_policy_version", "policy_version"),
        Index("ix_records_world_model_version", "world_model_version"),
    )


class RolloutRow(Base):
    """What only an imagined rollout has."""

    __tablename__ = "rollouts"
    record_id: Mapped[str] = mapped_column(ForeignKey("records.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[str] = mapped_column(index=True)
    start_episode: Mapped[str]
    start_step: Mapped[int]
    reward: Mapped[float]
    threshold: Mapped[float | None]
    """Of the reward classifier that judged it."""


class EpisodeRow(Base):
    """What only an executed episode has."""

    __tablename__ = "episodes"
    record_id: Mapped[str] = mapped_column(ForeignKey("records.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)


class AuditRow(Base):
    """One imagined rollout beside what its actions really led to."""

    __tablename__ = "audits"
    record_id: Mapped[str] = mapped_column(ForeignKey("records.id", ondelete="CASCADE"), primary_key=True)
    replay: Mapped[str | None]
    """The replay's file within the run's folder."""
    real_success: Mapped[bool]
    threshold: Mapped[float]
    peak: Mapped[float]
    peak_frame: Mapped[int]
    first_divergent: Mapped[int | None]
    curve: Mapped[list[Any]]
    """The divergence, thinned for a spark line; the whole of it stands in the run's audit/rows.json."""


class CheckpointRow(Base):
    """A policy, world model or reward classifier on disk."""

    __tablename__ = "checkpoints"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    stage: Mapped[str]
    kind: Mapped[str]
    version: Mapped[str] = mapped_column(index=True)
    path: Mapped[str]
    """Within the run's folder."""
    title: Mapped[str]
    """For people: which stage made it."""

    __table_args__ = (UniqueConstraint("run_id", "path"),)


class LineageRow(Base):
    """An edge: `child` was made with `parent`, in the role `role`. Versions are content hashes, so an edge also
    leads from one run to another.
    """

    __tablename__ = "lineage"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    stage: Mapped[str]
    child_kind: Mapped[str]
    child: Mapped[str] = mapped_column(index=True)
    role: Mapped[str]
    """What the parent was to the child: "parent" (the version before), "reward", "episodes", ..."""
    parent_kind: Mapped[str]
    parent: Mapped[str] = mapped_column(index=True)

    __table_args__ = (UniqueConstraint("run_id", "stage", "child_kind", "child", "role", "parent"),)


class AnnotationEvent(Base):
    """One line of a run's annotation log. Rows are added, never changed."""

    __tablename__ = "annotation_events"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Place in the log's history, from 0."""
    event: Mapped[str]
    record_key: Mapped[str]
    op: Mapped[str]
    span_id: Mapped[str]
    body: Mapped[dict[str, Any]]
    """The line."""
    author: Mapped[str]
    time: Mapped[str]

    __table_args__ = (
        UniqueConstraint("run_id", "event"),
        Index("ix_annotation_events_span", "run_id", "record_key", "span_id"),
    )


class Annotation(Base):
    """A span as it stands after all events so far."""

    __tablename__ = "annotations"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    record_key: Mapped[str] = mapped_column(primary_key=True)
    span_id: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[int]
    last: Mapped[int]
    """Inclusive."""
    label: Mapped[str] = mapped_column(index=True)
    severity: Mapped[int]
    note: Mapped[str]
    author: Mapped[str]
    """Of the latest edit."""
    created_by: Mapped[str]
    time: Mapped[str]
    version: Mapped[int]


class JobRow(Base):
    """A job's folder; the folder is the truth."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    made: Mapped[float]
    stamp: Mapped[str]
    facts: Mapped[dict[str, Any]]
    """Its key and spec, and how its present attempt stands."""
