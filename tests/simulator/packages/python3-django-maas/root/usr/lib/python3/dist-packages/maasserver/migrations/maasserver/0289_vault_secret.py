"""Secrets that live in a Vault; boot images; and, in the simulator only, a list of imports."""

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
            CREATE TABLE maasserver_bootresourcefile (
                id bigserial PRIMARY KEY, filename varchar(255) NOT NULL,
                filename_on_disk varchar(64) NOT NULL, size bigint NOT NULL);
            CREATE TABLE maasserver_bootresourcefilesync (
                id bigserial PRIMARY KEY, size bigint NOT NULL DEFAULT 0,
                file_id bigint NOT NULL REFERENCES maasserver_bootresourcefile ON DELETE CASCADE,
                region_id bigint NOT NULL REFERENCES maasserver_node ON DELETE CASCADE,
                UNIQUE (file_id, region_id));
        """,
            RunSQL.noop,
        ),
    ],
)
