"""Rows of controllers: who this host is, its interfaces, its services."""

from __future__ import annotations

import random
import socket
from ipaddress import ip_interface
from typing import Any

from psycopg2.extras import Json

REGION, RACK, BOTH = 3, 2, 4
_ALPHABET = "abcdefghkmnpqrstwxy34678"
Interfaces = dict[str, dict[str, Any]]


class MultipleObjectsReturned(Exception):
    """More than one node looks like this host: MAAS cannot go on."""


def hostname() -> str:
    return socket.gethostname().split(".")[0]


def find(cursor, system_id: str | None, interfaces: Interfaces, host: str) -> list:
    """The node with this id; else those with this host name or one of the MACs."""
    if system_id:
        cursor.execute("SELECT * FROM maasserver_node WHERE system_id = %s", (system_id,))
        if found := cursor.fetchall():
            return found
    macs = [i["mac_address"] for i in interfaces.values()]
    cursor.execute(
        "SELECT DISTINCT n.* FROM maasserver_node n LEFT JOIN maasserver_interface i "
        "ON i.node_id = n.id WHERE n.hostname = %s OR i.mac_address = ANY(%s) ORDER BY n.id",
        (host, macs),
    )
    return cursor.fetchall()


def adopt_or_create(cursor, found: list, kind: int, host: str):
    """One match becomes (also) a controller of this kind, whatever it was."""
    if not found:
        system_id = "".join(random.choice(_ALPHABET) for _ in range(6))
        cursor.execute(
            "INSERT INTO maasserver_node (system_id, hostname, node_type) VALUES (%s, %s, %s) RETURNING *",
            (system_id, host, kind),
        )
        return cursor.fetchone()
    node = found[0]
    both = node.node_type in {REGION, RACK, BOTH} and node.node_type != kind
    cursor.execute(
        "UPDATE maasserver_node SET node_type = %s, hostname = %s, updated = now() WHERE id = %s RETURNING *",
        (BOTH if both else kind, host, node.id),
    )
    return cursor.fetchone()


def set_version(cursor, node_id: int, version: str) -> None:
    cursor.execute(
        "INSERT INTO maasserver_controllerinfo (node_id, version) VALUES (%s, %s) "
        "ON CONFLICT (node_id) DO UPDATE SET version = EXCLUDED.version",
        (node_id, version),
    )


def set_services(cursor, node_id: int, rows: list) -> None:
    for name, status, info in rows:
        cursor.execute(
            "INSERT INTO maasserver_service (node_id, name, status, status_info) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (node_id, name) DO UPDATE SET "
            "status = EXCLUDED.status, status_info = EXCLUDED.status_info, updated = now()",
            (node_id, name, status, info),
        )


def set_interfaces(cursor, node_id: int, interfaces: Interfaces) -> None:
    """Interfaces with their addresses; an unknown network gets fabric, VLAN, subnet."""
    cursor.execute(
        "DELETE FROM maasserver_interface WHERE node_id = %s AND NOT name = ANY(%s)",
        (node_id, list(interfaces)),
    )
    for name, facts in interfaces.items():
        cursor.execute(
            "INSERT INTO maasserver_interface (node_id, name, type, mac_address, enabled, "
            "addresses) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (node_id, name) DO UPDATE "
            "SET type = EXCLUDED.type, mac_address = EXCLUDED.mac_address, "
            "enabled = EXCLUDED.enabled, addresses = EXCLUDED.addresses",
            (node_id, name, facts["type"], facts["mac_address"], facts["enabled"], Json(facts["addresses"])),
        )
        for cidr in facts["addresses"]:
            _ensure_subnet(cursor, str(ip_interface(cidr).network))


def _ensure_subnet(cursor, cidr: str) -> None:
    cursor.execute("SELECT 1 FROM maasserver_subnet WHERE cidr = %s", (cidr,))
    if cursor.fetchone():
        return
    cursor.execute("INSERT INTO maasserver_fabric (name) VALUES (NULL) RETURNING id")
    fabric = cursor.fetchone().id
    cursor.execute("UPDATE maasserver_fabric SET name = %s WHERE id = %s", (f"fabric-{fabric}", fabric))
    cursor.execute("INSERT INTO maasserver_vlan (vid, fabric_id) VALUES (0, %s) RETURNING id", (fabric,))
    cursor.execute(
        "INSERT INTO maasserver_subnet (name, cidr, vlan_id) VALUES (%s, %s, %s)",
        (cidr, cidr, cursor.fetchone().id),
    )
