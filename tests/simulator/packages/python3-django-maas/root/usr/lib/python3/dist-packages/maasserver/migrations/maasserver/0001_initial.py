"""Settings, secrets, nodes and networks: MAAS's table names, fewer columns."""

from django.db import migrations, models
from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

TABLES = """
CREATE TABLE maasserver_node (
    id bigserial PRIMARY KEY, created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(), system_id varchar(41) NOT NULL UNIQUE,
    hostname varchar(255) NOT NULL UNIQUE, node_type integer NOT NULL DEFAULT 0,
    url varchar(255) NOT NULL DEFAULT '', managing_process_id bigint);
CREATE TABLE maasserver_controllerinfo (
    node_id bigint PRIMARY KEY REFERENCES maasserver_node ON DELETE CASCADE,
    version varchar(255), install_type varchar(255) NOT NULL DEFAULT 'deb');
CREATE TABLE maasserver_service (
    id bigserial PRIMARY KEY, node_id bigint NOT NULL REFERENCES maasserver_node ON DELETE CASCADE,
    name varchar(255) NOT NULL, status varchar(10) NOT NULL DEFAULT 'unknown',
    status_info varchar(255) NOT NULL DEFAULT '', updated timestamptz NOT NULL DEFAULT now(),
    UNIQUE (node_id, name));
CREATE TABLE maasserver_fabric (id bigserial PRIMARY KEY, name varchar(256) UNIQUE);
CREATE TABLE maasserver_vlan (
    id bigserial PRIMARY KEY, name varchar(256) NOT NULL DEFAULT 'untagged', vid integer NOT NULL,
    mtu integer NOT NULL DEFAULT 1500, dhcp_on boolean NOT NULL DEFAULT false,
    fabric_id bigint NOT NULL REFERENCES maasserver_fabric ON DELETE CASCADE,
    primary_rack_id bigint REFERENCES maasserver_node ON DELETE SET NULL, UNIQUE (vid, fabric_id));
CREATE TABLE maasserver_subnet (
    id bigserial PRIMARY KEY, name varchar(255) NOT NULL, cidr cidr NOT NULL UNIQUE,
    vlan_id bigint NOT NULL REFERENCES maasserver_vlan ON DELETE CASCADE,
    gateway_ip inet, dns_servers jsonb NOT NULL DEFAULT '[]');
CREATE TABLE maasserver_interface (
    id bigserial PRIMARY KEY, node_id bigint REFERENCES maasserver_node ON DELETE CASCADE,
    name varchar(255) NOT NULL, type varchar(20) NOT NULL DEFAULT 'physical',
    mac_address text, enabled boolean NOT NULL DEFAULT true,
    addresses jsonb NOT NULL DEFAULT '[]', UNIQUE (node_id, name));
CREATE TABLE maasserver_domain (
    id bigserial PRIMARY KEY, name varchar(256) NOT NULL UNIQUE,
    authoritative boolean NOT NULL DEFAULT true, ttl integer);
INSERT INTO maasserver_domain (name) VALUES ('maas');
CREATE TABLE maasserver_staticipaddress (
    id bigserial PRIMARY KEY, created timestamptz NOT NULL DEFAULT now(), ip inet UNIQUE,
    alloc_type integer NOT NULL DEFAULT 6, lease_time integer NOT NULL DEFAULT 0,
    mac_address text, hostname varchar(255));
"""
Migration = step(
    "maasserver",
    "0001_initial",
    operations=[
        migrations.CreateModel(
            "Config",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=255, unique=True)),
                ("value", models.JSONField(null=True)),
            ],
        ),
        migrations.CreateModel(
            "Secret",
            [
                ("created", models.DateTimeField(editable=False)),
                ("updated", models.DateTimeField(editable=False)),
                ("path", models.TextField(primary_key=True)),
                ("value", models.JSONField()),
            ],
        ),
        RunSQL(TABLES, RunSQL.noop),
    ],
)
