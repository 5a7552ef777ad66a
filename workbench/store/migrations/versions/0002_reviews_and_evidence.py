"""Reviews (events and claims), and the evidence beside records."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three tables; the old ones stay as they are."""
    op.create_table(
        "review_events",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("record_key", sa.String(), nullable=False),
        sa.Column("op", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_review_events_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "position", name=op.f("pk_review_events")),
        sa.UniqueConstraint("run_id", "event", name=op.f("uq_review_events_run_id_event")),
    )
    op.create_index("ix_review_events_author", "review_events", ["author"], unique=False)
    op.create_index("ix_review_events_record", "review_events", ["run_id", "record_key"], unique=False)
    op.create_table(
        "review_claims",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("record_key", sa.String(), nullable=False),
        sa.Column("annotator", sa.String(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_review_claims_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "record_key", "annotator", name=op.f("pk_review_claims")),
    )
    op.create_index("ix_review_claims_annotator", "review_claims", ["annotator"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"], ["records.id"], name=op.f("fk_evidence_record_id_records"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_evidence")),
    )
