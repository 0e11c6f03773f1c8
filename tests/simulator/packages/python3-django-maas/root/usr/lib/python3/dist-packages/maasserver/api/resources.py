"""The API's resources. Each handler takes the call and the parts of its path."""

from __future__ import annotations

import json
import threading
import time
from ipaddress import ip_address
from typing import Any

from .. import controllers, database, default_settings, importer
from ..random_keys import random_text

CAPABILITIES = [
    "networks-management",
    "static-ipaddresses",
    "ipv6-deployment-ubuntu",
    "devices-management",
    "storage-deployment-ubuntu",
    "network-deployment-ubuntu",
    "bridging-interface-ubuntu",
    "bridging-automatic-ubuntu",
    "authenticate-api",
]


class Refused(Exception):
    """A request that MAAS refuses, with its status and a body."""

    def __init__(self, body: Any, status: int = 400) -> None:
        super().__init__(body)
        self.status = status


def version(call) -> Any:
    call.cursor.execute(
        "SELECT version FROM maasserver_controllerinfo WHERE version IS NOT NULL "
        "GROUP BY version ORDER BY count(*) DESC, version DESC LIMIT 1"
    )
    row = call.cursor.fetchone()
    return {
        "version": str(row.version if row else None),
        "subversion": "simulator",
        "capabilities": CAPABILITIES,
    }


def describe(call) -> Any:
    return {"doc": "MAAS API (simulator)", "resources": [p for p, _ in ROUTES]}


def rpc(call) -> Any:
    """Where workers listen; an address that two regions share is left out."""
    call.cursor.execute(
        "SELECT n.hostname, p.pid, host(e.address) AS address, e.port, p.region_id "
        "FROM maasserver_regioncontrollerprocessendpoint e "
        "JOIN maasserver_regioncontrollerprocess p ON p.id = e.process_id "
        "JOIN maasserver_node n ON n.id = p.region_id ORDER BY p.pid, e.id"
    )
    rows = call.cursor.fetchall()
    loops: dict[str, list] = {}
    for row in rows:
        if any(r.address == row.address and r.region_id != row.region_id for r in rows):
            continue
        loops.setdefault(f"{row.hostname}:pid={row.pid}", []).append([row.address, row.port])
    return {"eventloops": loops}


def _user(row) -> dict[str, Any]:
    return {
        "username": row.username,
        "email": row.email,
        "is_superuser": row.is_superuser,
        "is_local": True,
        "sshkeys_count": 0,
        "machines_count": 0,
        "resource_uri": f"/MAAS/api/2.0/users/{row.username}/",
    }


def users(call) -> Any:
    call.cursor.execute("SELECT * FROM auth_user WHERE username NOT IN ('MAAS', 'maas-init-node') ORDER BY id")
    return [_user(row) for row in call.cursor.fetchall()]


def whoami(call) -> Any:
    return _user(call.user)


def token_of(call, user, name: str | None) -> dict[str, str]:
    """The user's token of a consumer of that name, made when there is none."""
    call.cursor.execute(
        "SELECT c.key AS consumer_key, c.name, t.key AS token_key, t.secret AS token_secret "
        "FROM piston3_token t JOIN piston3_consumer c ON c.id = t.consumer_id "
        "WHERE t.user_id = %s AND (%s::text IS NULL OR c.name = %s) ORDER BY t.id LIMIT 1",
        (user.id, name, name),
    )
    row = call.cursor.fetchone()
    if row:
        return row._asdict()
    made = {
        "consumer_key": random_text(18),
        "name": name or "MAAS consumer",
        "token_key": random_text(18),
        "token_secret": random_text(32),
    }
    call.cursor.execute(
        "INSERT INTO piston3_consumer (name, description, key, secret, status, user_id) "
        "VALUES (%s, '', %s, '', 'accepted', %s) RETURNING id",
        (made["name"], made["consumer_key"], user.id),
    )
    call.cursor.execute(
        "INSERT INTO piston3_token (key, secret, token_type, timestamp, is_approved, consumer_id, "
        "user_id) VALUES (%s, %s, 2, %s, true, %s, %s)",
        (made["token_key"], made["token_secret"], int(time.time()), call.cursor.fetchone().id, user.id),
    )
    return made


def get_config(call) -> Any:
    name = call.fields.get("name", "")
    if name not in default_settings.DEFAULTS or name in default_settings.NOT_OVER_THE_API:
        raise Refused({name: [f"{name} is not a valid config setting."]})
    text = json.dumps(database.get_config(call.cursor, name))
    return 200, text


def set_config(call) -> Any:
    name = call.fields.get("name", "")
    try:
        value = default_settings.parse(name, call.fields.get("value", ""))
    except KeyError:
        raise Refused({name: [f"{name} is not a valid config setting."]}) from None
    except ValueError as error:
        raise Refused({name: [str(error)]}) from None
    database.set_config(call.cursor, name, value)
    return 200, "OK"


def _controllers(call, kinds: set[int], services: bool, system_id: str | None = None) -> list:
    call.cursor.execute(
        "SELECT n.*, c.version FROM maasserver_node n LEFT JOIN maasserver_controllerinfo c "
        "ON c.node_id = n.id WHERE node_type = ANY(%s) AND (%s::text IS NULL OR system_id = %s) "
        "ORDER BY n.id",
        (list(kinds), system_id, system_id),
    )
    found = []
    for node in call.cursor.fetchall():
        facts = {
            "system_id": node.system_id,
            "hostname": node.hostname,
            "fqdn": f"{node.hostname}.maas",
            "node_type": node.node_type,
            "version": node.version or "",
            "node_type_name": {2: "Rack controller", 3: "Region controller"}.get(
                node.node_type, "Region and rack controller"
            ),
        }
        call.cursor.execute(
            "SELECT name, mac_address, enabled, addresses FROM maasserver_interface WHERE node_id = %s ORDER BY name",
            (node.id,),
        )
        interfaces = [row._asdict() for row in call.cursor.fetchall()]
        facts["interface_set"] = interfaces
        facts["ip_addresses"] = [a.split("/")[0] for i in interfaces for a in i["addresses"]]
        if services:
            call.cursor.execute(
                "SELECT name, status, status_info FROM maasserver_service WHERE node_id = %s ORDER BY name",
                (node.id,),
            )
            facts["service_set"] = [row._asdict() for row in call.cursor.fetchall()]
        found.append(facts)
    return found


def rack_controllers(call) -> Any:
    return _controllers(call, {controllers.RACK, controllers.BOTH}, services=True)


def rack_controller(call, system_id: str) -> Any:
    return _one(_controllers(call, {controllers.RACK, controllers.BOTH}, True, system_id))


def region_controllers(call) -> Any:
    return _controllers(call, {controllers.REGION, controllers.BOTH}, services=False)


def boot_resources(call) -> Any:
    return []


def import_images(call) -> Any:
    threading.Thread(target=importer.start, daemon=True).start()
    return 200, "Import of boot resources started"


def stop_import(call) -> Any:
    return 200, "Import of boot resources is being stopped"


def is_importing(call) -> Any:
    return importer.running(call.cursor)


def boot_sources(call) -> Any:
    return [
        {
            "id": 1,
            "url": "http://images.maas.io/ephemeral-v3/stable/",
            "keyring_filename": "/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg",
        }
    ]


def domains(call) -> Any:
    call.cursor.execute("SELECT id, name, authoritative, ttl FROM maasserver_domain ORDER BY id")
    return [row._asdict() for row in call.cursor.fetchall()]


def subnets(call) -> Any:
    call.cursor.execute(
        "SELECT s.id, s.name, s.cidr::text, host(s.gateway_ip) AS gateway_ip, s.dns_servers, "
        "v.id AS vlan, v.vid, v.fabric_id, v.dhcp_on FROM maasserver_subnet s "
        "JOIN maasserver_vlan v ON v.id = s.vlan_id ORDER BY s.id"
    )
    return [
        {
            "id": r.id,
            "name": r.name,
            "cidr": r.cidr,
            "gateway_ip": r.gateway_ip,
            "dns_servers": r.dns_servers,
            "vlan": {"id": r.vlan, "vid": r.vid, "fabric_id": r.fabric_id, "dhcp_on": r.dhcp_on},
        }
        for r in call.cursor.fetchall()
    ]


def fabrics(call) -> Any:
    call.cursor.execute("SELECT id, name FROM maasserver_fabric ORDER BY id")
    return [{"id": row.id, "name": row.name, "vlans": vlans(call, row.id)} for row in call.cursor.fetchall()]


def vlans(call, fabric: str | int) -> Any:
    call.cursor.execute(
        "SELECT v.id, v.name, v.vid, v.mtu, v.dhcp_on, v.fabric_id, n.system_id AS primary_rack "
        "FROM maasserver_vlan v LEFT JOIN maasserver_node n ON n.id = v.primary_rack_id "
        "WHERE v.fabric_id = %s ORDER BY v.vid",
        (fabric,),
    )
    return [row._asdict() for row in call.cursor.fetchall()]


def vlan(call, fabric: str, vid: str) -> Any:
    return _one([v for v in vlans(call, fabric) if v["vid"] == int(vid)])


def update_vlan(call, fabric: str, vid: str) -> Any:
    """dhcp_on needs a dynamic range on the VLAN and a primary rack."""
    before = vlan(call, fabric, vid)
    on = call.fields.get("dhcp_on", str(before["dhcp_on"])).lower() in {"true", "1", "on", "yes"}
    rack = call.fields.get("primary_rack", before["primary_rack"])
    call.cursor.execute("SELECT id FROM maasserver_node WHERE system_id = %s", (rack,))
    node = call.cursor.fetchone()
    call.cursor.execute(
        "SELECT 1 FROM maasserver_iprange r JOIN maasserver_subnet s ON s.id = r.subnet_id "
        "WHERE s.vlan_id = %s AND r.type = 'dynamic'",
        (before["id"],),
    )
    if on and call.cursor.fetchone() is None:
        raise Refused({"dhcp_on": ["dhcp can only be turned on when a dynamic IP range is defined."]})
    if on and node is None:
        raise Refused({"dhcp_on": ["dhcp can only be turned on when a primary rack controller is set."]})
    call.cursor.execute(
        "UPDATE maasserver_vlan SET dhcp_on = %s, primary_rack_id = %s WHERE id = %s",
        (on, node.id if node else None, before["id"]),
    )
    return vlan(call, fabric, vid)


def ip_ranges(call) -> Any:
    call.cursor.execute(
        "SELECT id, type, host(start_ip) AS start_ip, host(end_ip) AS end_ip, "
        "subnet_id FROM maasserver_iprange ORDER BY id"
    )
    return [row._asdict() for row in call.cursor.fetchall()]


def create_ip_range(call) -> Any:
    kind = call.fields.get("type", "")
    try:
        low, high = (str(ip_address(call.fields.get(n, ""))) for n in ("start_ip", "end_ip"))
    except ValueError as error:
        raise Refused({"start_ip": [str(error)]}) from None
    if kind not in {"dynamic", "reserved"}:
        raise Refused({"type": ["Select a valid choice."]})
    call.cursor.execute("SELECT id FROM maasserver_subnet WHERE cidr >>= %s::inet AND cidr >>= %s::inet", (low, high))
    subnet = call.cursor.fetchone()
    if subnet is None:
        raise Refused({"__all__": ["Start IP address must be within a known subnet."]})
    call.cursor.execute(
        "INSERT INTO maasserver_iprange (type, start_ip, end_ip, subnet_id) VALUES (%s, %s, %s, %s) RETURNING id",
        (kind, low, high, subnet.id),
    )
    number = call.cursor.fetchone().id
    return {"id": number, "type": kind, "start_ip": low, "end_ip": high, "subnet_id": subnet.id}


def delete_ip_range(call, number: str) -> Any:
    call.cursor.execute("DELETE FROM maasserver_iprange WHERE id = %s", (number,))
    return 204, ""


def _one(found: list) -> Any:
    if not found:
        raise Refused("Not Found", 404)
    return found[0]


GET, POST, PUT, DELETE = "GET", "POST", "PUT", "DELETE"
FOR_ANYBODY = {"version/", "describe/"}
FOR_ADMINS = {
    set_config,
    import_images,
    stop_import,
    update_vlan,
    create_ip_range,
    delete_ip_range,
}
ROUTES = [
    (r"version/", {(GET, ""): version}),
    (r"describe/", {(GET, ""): describe}),
    (r"users/", {(GET, ""): users, (GET, "whoami"): whoami}),
    (r"maas/", {(GET, "get_config"): get_config, (POST, "set_config"): set_config}),
    (r"rackcontrollers/", {(GET, ""): rack_controllers}),
    (r"rackcontrollers/(\w+)/", {(GET, ""): rack_controller}),
    (r"regioncontrollers/", {(GET, ""): region_controllers}),
    (
        r"boot-resources/",
        {
            (GET, ""): boot_resources,
            (GET, "is_importing"): is_importing,
            (POST, "import"): import_images,
            (POST, "stop_import"): stop_import,
        },
    ),
    (r"boot-sources/", {(GET, ""): boot_sources}),
    (r"domains/", {(GET, ""): domains}),
    (r"subnets/", {(GET, ""): subnets}),
    (r"fabrics/", {(GET, ""): fabrics}),
    (r"fabrics/(\d+)/vlans/", {(GET, ""): vlans}),
    (r"fabrics/(\d+)/vlans/(\d+)/", {(GET, ""): vlan, (PUT, ""): update_vlan}),
    (r"ipranges/", {(GET, ""): ip_ranges, (POST, ""): create_ip_range}),
    (r"ipranges/(\d+)/", {(DELETE, ""): delete_ip_range}),
]
