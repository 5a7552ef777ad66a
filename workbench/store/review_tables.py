"""The tables of the review queue and of the evidence beside records.

Reviews hang on (run, key of the record in the run's logs), as annotations do, so that they outlast a record's row:
that one is dropped and made anew when its file changes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workbench.store.tables import Base


class ReviewEvent(Base):
    """One line of a run's review log. Rows are added, never changed."""

    __tablename__ = "review_events"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Place in the log, from 0."""
    event: Mapped[str]
    record_key: Mapped[str]
    op: Mapped[str]
    """Key of review.log.OPS."""
    author: Mapped[str]
    time: Mapped[float]
    """Seconds since 1970."""
    body: Mapped[dict[str, Any]]
    """The line."""

    __table_args__ = (
        UniqueConstraint("run_id", "event"),
        Index("ix_review_events_record", "run_id", "record_key"),
        Index("ix_review_events_author", "author"),
    )


class ReviewClaim(Base):
    """Somebody is at work on a record until `expires`. Kept here alone: it means nothing once it is over."""

    __tablename__ = "review_claims"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    record_key: Mapped[str] = mapped_column(primary_key=True)
    annotator: Mapped[str] = mapped_column(primary_key=True)
    made: Mapped[float]
    """Seconds since 1970."""
    expires: Mapped[float]

    __table_args__ = (Index("ix_review_claims_annotator", "annotator"),)


class EvidenceRow(Base):
    """What is known about a record beside its pictures, in short; made anew when `version` is another."""

    __tablename__ = "evidence"
    record_id: Mapped[str] = mapped_column(ForeignKey("records.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[str]
    """Of the files that it was made from."""
    summary: Mapped[dict[str, Any]]
