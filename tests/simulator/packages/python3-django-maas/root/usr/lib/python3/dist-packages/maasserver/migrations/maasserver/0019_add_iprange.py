"""Ranges of addresses: dynamic for DHCP, reserved for people."""

from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "maasserver",
    "0019_add_iprange",
    after="0014_add_region_models",
    operations=[
        RunSQL(
            """
        CREATE TABLE maasserver_iprange (
            id bigserial PRIMARY KEY, type varchar(20) NOT NULL,
            start_ip inet NOT NULL, end_ip inet NOT NULL,
            subnet_id bigint NOT NULL REFERENCES maasserver_subnet ON DELETE CASCADE);
    """,
            RunSQL.noop,
        )
    ],
)
