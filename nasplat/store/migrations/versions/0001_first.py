"""The first schema: studies, spaces, architectures, trials, evaluations, origins, machines, artefacts.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything, what is referred to first."""
    _create_machine()
    _create_origin()
    _create_space()
    _create_architecture()
    _create_study()
    _create_study_attribute()
    _create_distribution()
    _create_trial()
    _create_intermediate_value()
    _create_evaluation()
    _create_artefact()
    _create_claim()


def _create_machine() -> None:
    op.create_table(
        "nasplat_machine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("info", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_machine")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_nasplat_machine_fingerprint")),
    )


def _create_origin() -> None:
    op.create_table(
        "nasplat_origin",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_origin")),
        sa.UniqueConstraint("hash", name=op.f("uq_nasplat_origin_hash")),
    )


def _create_space() -> None:
    op.create_table(
        "nasplat_space",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_space")),
        sa.UniqueConstraint("hash", name=op.f("uq_nasplat_space_hash")),
    )


def _create_architecture() -> None:
    op.create_table(
        "nasplat_architecture",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["nasplat_space.id"],
            name=op.f("fk_nasplat_architecture_space_id_nasplat_space"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_architecture")),
        sa.UniqueConstraint("space_id", "key", name=op.f("uq_nasplat_architecture_space_id_key")),
    )


def _create_study() -> None:
    op.create_table(
        "nasplat_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("space_id", sa.Integer(), nullable=True),
        sa.Column("directions", sa.Text(), nullable=False),
        sa.Column("objectives", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("trial_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("revision >= 0 AND trial_count >= 0", name=op.f("ck_nasplat_study_counts_up")),
        sa.ForeignKeyConstraint(
            ["space_id"], ["nasplat_space.id"], name=op.f("fk_nasplat_study_space_id_nasplat_space")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_study")),
        sa.UniqueConstraint("name", name=op.f("uq_nasplat_study_name")),
        sqlite_autoincrement=True,
    )


def _create_study_attribute() -> None:
    op.create_table(
        "nasplat_study_attribute",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('system', 'user')", name=op.f("ck_nasplat_study_attribute_kind_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_study_attribute_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "kind", "key", name=op.f("pk_nasplat_study_attribute")),
    )
    op.create_index(
        op.f("ix_nasplat_study_attribute_study_id_revision"),
        "nasplat_study_attribute",
        ["study_id", "revision"],
        unique=False,
    )


def _create_distribution() -> None:
    op.create_table(
        "nasplat_distribution",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_distribution_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_distribution")),
        sa.UniqueConstraint(
            "study_id", "name", "hash", name=op.f("uq_nasplat_distribution_study_id_name_hash")
        ),
    )


def _create_trial() -> None:
    op.create_table(
        "nasplat_trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("arch_id", sa.Integer(), nullable=True),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("distributions", sa.Text(), nullable=False),
        sa.Column("objective_values", sa.Text(), nullable=True),
        sa.Column("constraints", sa.Text(), nullable=False),
        sa.Column("system_attrs", sa.Text(), nullable=False),
        sa.Column("user_attrs", sa.Text(), nullable=False),
        sa.Column("steps", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires", sa.Double(), nullable=True),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("finished", sa.Double(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state <> 'complete' OR objective_values IS NOT NULL",
            name=op.f("ck_nasplat_trial_complete_has_values"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'pruned', 'dropped', 'failed')",
            name=op.f("ck_nasplat_trial_state_is_known"),
        ),
        sa.CheckConstraint(
            "worker IS NULL OR state = 'running'", name=op.f("ck_nasplat_trial_only_running_has_worker")
        ),
        sa.CheckConstraint(
            "(worker IS NULL) = (lease_expires IS NULL)", name=op.f("ck_nasplat_trial_worker_has_lease")
        ),
        sa.CheckConstraint("number >= 0 AND attempt >= 0", name=op.f("ck_nasplat_trial_counts_up")),
        sa.ForeignKeyConstraint(
            ["arch_id"],
            ["nasplat_architecture.id"],
            name=op.f("fk_nasplat_trial_arch_id_nasplat_architecture"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_trial_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_trial")),
        sa.UniqueConstraint("study_id", "arch_id", name=op.f("uq_nasplat_trial_study_id_arch_id")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_nasplat_trial_study_id_number")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_nasplat_trial_study_id_revision"), "nasplat_trial", ["study_id", "revision"], unique=False
    )
    op.create_index(
        op.f("ix_nasplat_trial_study_id_state_number"),
        "nasplat_trial",
        ["study_id", "state", "number"],
        unique=False,
    )


def _create_intermediate_value() -> None:
    op.create_table(
        "nasplat_intermediate_value",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["nasplat_trial.id"],
            name=op.f("fk_nasplat_intermediate_value_trial_id_nasplat_trial"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("trial_id", "step", name=op.f("pk_nasplat_intermediate_value")),
    )


def _create_evaluation() -> None:
    op.create_table(
        "nasplat_evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("arch_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("origin_id", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("spread", sa.Double(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=True),
        sa.Column("noisy", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("per_module", sa.Text(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "status <> 'ok' OR value IS NOT NULL", name=op.f("ck_nasplat_evaluation_ok_has_value")
        ),
        sa.CheckConstraint(
            "status IN ('ok', 'not_applicable', 'failed')", name=op.f("ck_nasplat_evaluation_status_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["arch_id"],
            ["nasplat_architecture.id"],
            name=op.f("fk_nasplat_evaluation_arch_id_nasplat_architecture"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["origin_id"], ["nasplat_origin.id"], name=op.f("fk_nasplat_evaluation_origin_id_nasplat_origin")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_evaluation")),
    )
    op.create_index(op.f("ix_nasplat_evaluation_arch_id"), "nasplat_evaluation", ["arch_id"], unique=False)
    op.create_index(
        "uq_nasplat_evaluation_current",
        "nasplat_evaluation",
        ["arch_id", "metric", "origin_id"],
        unique=True,
        sqlite_where=sa.text("current = 1"),
        postgresql_where=sa.text("current"),
    )


def _create_artefact() -> None:
    op.create_table(
        "nasplat_artefact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("origin_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["origin_id"], ["nasplat_origin.id"], name=op.f("fk_nasplat_artefact_origin_id_nasplat_origin")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_artefact_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nasplat_artefact")),
        sa.UniqueConstraint(
            "study_id", "kind", "origin_id", name=op.f("uq_nasplat_artefact_study_id_kind_origin_id")
        ),
    )


def _create_claim() -> None:
    op.create_table(
        "nasplat_claim",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["nasplat_study.id"],
            name=op.f("fk_nasplat_claim_study_id_nasplat_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "kind", name=op.f("pk_nasplat_claim")),
    )
