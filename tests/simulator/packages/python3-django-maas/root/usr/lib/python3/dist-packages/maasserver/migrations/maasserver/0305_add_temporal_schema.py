"""Schemas for Temporal. A plain CREATE: it fails when they are there already."""

from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "maasserver",
    "0305_add_temporal_schema",
    after="0302_big_auto_field",
    operations=[
        RunSQL(
            "CREATE SCHEMA temporal; CREATE SCHEMA temporal_visibility;",
            "DROP SCHEMA temporal CASCADE; DROP SCHEMA temporal_visibility CASCADE;",
        )
    ],
)
