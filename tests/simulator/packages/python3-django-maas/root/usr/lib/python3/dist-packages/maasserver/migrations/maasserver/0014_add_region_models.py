"""Processes of regions, where they listen, and which rack is connected to them."""

from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "maasserver",
    "0014_add_region_models",
    after="0001_initial",
    operations=[
        RunSQL(
            """
        CREATE TABLE maasserver_regioncontrollerprocess (
            id bigserial PRIMARY KEY, created timestamptz NOT NULL DEFAULT now(),
            updated timestamptz NOT NULL DEFAULT now(),
            region_id bigint NOT NULL REFERENCES maasserver_node ON DELETE CASCADE,
            pid integer NOT NULL, UNIQUE (region_id, pid));
        CREATE TABLE maasserver_regioncontrollerprocessendpoint (
            id bigserial PRIMARY KEY, address inet NOT NULL, port integer NOT NULL,
            process_id bigint NOT NULL
                REFERENCES maasserver_regioncontrollerprocess ON DELETE CASCADE,
            UNIQUE (process_id, address, port));
        CREATE TABLE maasserver_regionrackrpcconnection (
            id bigserial PRIMARY KEY, process_id bigint NOT NULL
                REFERENCES maasserver_regioncontrollerprocess ON DELETE CASCADE,
            rack_controller_id bigint NOT NULL REFERENCES maasserver_node ON DELETE CASCADE,
            UNIQUE (process_id, rack_controller_id));
    """,
            RunSQL.noop,
        )
    ],
)
