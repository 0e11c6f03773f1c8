"""Secrets that live in a Vault; and, in the simulator only, a list of imports."""

from django.db import migrations, models
from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "maasserver",
    "0289_vault_secret",
    after="0026_create_zone_serial_sequence",
    operations=[
        migrations.CreateModel(
            "VaultSecret",
            [
                ("path", models.TextField(primary_key=True)),
                ("deleted", models.BooleanField(default=False)),
            ],
        ),
        RunSQL(
            """
            CREATE TABLE maas_simulator_import (
                id bigserial PRIMARY KEY, started timestamptz NOT NULL DEFAULT now(),
                finished timestamptz);
        """,
            RunSQL.noop,
        ),
    ],
)
