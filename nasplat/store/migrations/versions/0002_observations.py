"""What probes saw while a supernet was trained.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table more; nothing that is there changes."""
    op.create_table(
        "nasplat_observation",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("origin_id", sa.Integer(), nullable=False),
        sa.Column("probe", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_nasplat_observation_counts_up")),
        sa.ForeignKeyConstraint(
            ["origin_id"],
            ["nasplat_origin.id"],
            name=op.f("fk_nasplat_observation_origin_id_nasplat_origin"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_observation_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "study_id", "origin_id", "probe", "epoch", name=op.f("pk_nasplat_observation")
        ),
    )
