"""DNS serials, and what was published under them."""

from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "maasserver",
    "0026_create_zone_serial_sequence",
    after="0019_add_iprange",
    operations=[
        RunSQL(
            """
        CREATE SEQUENCE maasserver_zone_serial_seq MINVALUE 1 MAXVALUE 4294967295 CYCLE;
        CREATE TABLE maasserver_dnspublication (
            id bigserial PRIMARY KEY, serial bigint NOT NULL,
            created timestamptz NOT NULL DEFAULT now(), source varchar(255) NOT NULL);
    """,
            RunSQL.noop,
        )
    ],
)
