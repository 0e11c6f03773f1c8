"""The region's end of RPC: racks register here and are told about DHCP."""

from __future__ import annotations

import socket
import threading
from typing import Any

from provisioningserver import dns, paths
from provisioningserver.log import log, maaslog
from provisioningserver.rpc import Connection

from . import controllers, database

terse = log("maasserver.rpc.regionservice")
PORTS = range(5250, 5260)


class RpcServer:
    def __init__(self, region_id: int) -> None:
        self.region_id = region_id
        self.process_id = 0
        self._racks: dict[int, Connection] = {}
        self._lock = threading.Lock()
        self._socket, self.port = _listen_on_first_free()
        self._commands = {
            "RegisterRackController": self.register,
            "GetControllerConfiguration": self.configuration,
            "UpdateServices": self.update_services,
            "UpdateInterfaces": self.update_interfaces,
            "UpdateLease": self.update_lease,
        }

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock, self._commands)
        try:
            secret = bytes.fromhex(paths.data("secret").read_text())
            connection.authenticate(secret)
        except Exception as error:
            terse.error("A rack controller could not be authenticated: %s", error)
            connection.close()
            return
        connection.listen()
        for rack_id in [r for r, c in self._racks.items() if c is connection]:
            self._disconnected(rack_id)

    def register(
        self,
        connection: Connection,
        system_id: str | None,
        hostname: str,
        interfaces: dict,
        url: str,
    ) -> dict[str, Any]:
        host = hostname.split(".", maxsplit=1)[0]
        with database.locked(database.STARTUP) as cursor:
            found = controllers.find(cursor, system_id, interfaces, host)
            node = controllers.adopt_or_create(cursor, found[:1], controllers.RACK, host)
            controllers.set_interfaces(cursor, node.id, interfaces)
            cursor.execute(
                "INSERT INTO maasserver_regionrackrpcconnection (process_id, rack_controller_id) "
                "VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (self.process_id, node.id),
            )
            cursor.execute("UPDATE maasserver_node SET url = %s WHERE id = %s", (url, node.id))
            deployment = database.get_config(cursor, "uuid")
            cluster = database.get_secret(cursor, "cluster-certificate") or {}
        self._racks[node.id] = connection
        terse.info("Rack controller '%s' connected to this event-loop.", node.system_id)
        if self._manages(node.id):
            threading.Timer(0.5, self._configure_dhcp, (node.id,)).start()
        return {
            "system_id": node.system_id,
            "uuid": deployment,
            "certificates": cluster
            and {
                "cluster.key": cluster["key"],
                "cluster.pem": cluster["cert"],
                "cacerts.pem": cluster["cacerts"],
            },
        }

    def _disconnected(self, rack_id: int) -> None:
        self._racks.pop(rack_id, None)
        try:
            with database.transaction() as cursor:
                cursor.execute(
                    "DELETE FROM maasserver_regionrackrpcconnection WHERE process_id = %s AND rack_controller_id = %s",
                    (self.process_id, rack_id),
                )
                cursor.execute(
                    "UPDATE maasserver_node SET managing_process_id = NULL WHERE id = %s AND managing_process_id = %s",
                    (rack_id, self.process_id),
                )
                if cursor.rowcount:
                    cursor.execute("SELECT pg_notify('sys_dhcp', 'rack')")
                cursor.execute(
                    "UPDATE maasserver_service s SET status = 'dead' WHERE node_id = %s AND name "
                    "IN ('rackd', 'tftp') AND NOT EXISTS (SELECT 1 FROM "
                    "maasserver_regionrackrpcconnection WHERE rack_controller_id = s.node_id)",
                    (rack_id,),
                )
        except Exception as error:
            terse.error("A lost rack could not be recorded: %s", error)

    def _manages(self, rack_id: int) -> bool:
        """One process at a time tells a rack what to do."""
        with database.transaction() as cursor:
            cursor.execute(
                "UPDATE maasserver_node n SET managing_process_id = %s WHERE id = %s AND "
                "(managing_process_id IS NULL OR managing_process_id = %s OR NOT EXISTS ("
                "SELECT 1 FROM maasserver_regionrackrpcconnection c WHERE c.process_id = "
                "n.managing_process_id AND c.rack_controller_id = n.id))",
                (self.process_id, rack_id, self.process_id),
            )
            return cursor.rowcount == 1

    def configuration(self, _: Connection, system_id: str) -> dict[str, Any]:
        with database.transaction() as cursor:
            node = _node(cursor, system_id)
            cursor.execute("SELECT cidr::text FROM maasserver_subnet ORDER BY id")
            return {
                "maas_uuid": database.get_config(cursor, "uuid"),
                "is_region": node.node_type in {controllers.REGION, controllers.BOTH},
                "hostname": node.hostname,
                "networks": [row.cidr for row in cursor.fetchall()],
                "proxy_enabled": database.get_config(cursor, "enable_http_proxy"),
                "proxy_port": database.get_config(cursor, "maas_proxy_port"),
                "network_discovery": database.get_config(cursor, "network_discovery") == "enabled",
            }

    def update_services(self, _: Connection, system_id: str, services: list) -> dict:
        with database.transaction() as cursor:
            controllers.set_services(cursor, _node(cursor, system_id).id, services)
        return {}

    def update_interfaces(self, _: Connection, system_id: str, interfaces: dict) -> dict:
        with database.transaction() as cursor:
            controllers.set_interfaces(cursor, _node(cursor, system_id).id, interfaces)
        return {}

    def update_lease(self, _: Connection, lease: dict) -> dict:
        """A lease becomes an address, and a name in the zone within a second."""
        ip, action = lease["ip"], lease["action"]
        host = lease.get("hostname", "(none)")
        maaslog("lease").info("Lease update: %s for %s on %s", action, ip, lease.get("mac"))
        terse.info("Lease update: %s(%s) for %s", action, ip, lease.get("mac"))
        with database.transaction() as cursor:
            cursor.execute("DELETE FROM maasserver_staticipaddress WHERE ip = %s", (ip,))
            if action == "commit":
                cursor.execute(
                    "INSERT INTO maasserver_staticipaddress (ip, mac_address, hostname, "
                    "lease_time) VALUES (%s, %s, %s, %s)",
                    (ip, lease["mac"], None if host == "(none)" else host, int(lease.get("lease_time") or 0)),
                )
        if action == "commit" and host != "(none)":
            dns.nsupdate("maas", f"update delete {host}.maas A", f"update add {host}.maas 30 A {ip}")
        return {}

    def dhcp_changed(self, _: str) -> None:
        for rack_id in list(self._racks):
            if self._manages(rack_id):
                threading.Thread(target=self._configure_dhcp, args=(rack_id,), daemon=True).start()

    def _configure_dhcp(self, rack_id: int) -> None:
        """Both versions, always: no subnets means off."""
        with self._lock:
            connection = self._racks.get(rack_id)
            if connection is None:
                return
            with database.transaction() as cursor:
                subnets = dhcp_subnets(cursor, rack_id)
                key = (database.get_secret(cursor, "omapi-key") or {}).get("secret", "")
            for version in (4, 6):
                mine = [s for s in subnets if (":" in s["cidr"]) == (version == 6)]
                try:
                    connection.ask("ConfigureDHCP", version=version, subnets=mine, omapi_key=key)
                except Exception as error:
                    maaslog("dhcp").error("DHCPv%d could not be configured: %s", version, error)
                    terse.error("Failed to configure DHCPv%d: %s", version, error)


def dhcp_subnets(cursor, rack_id: int) -> list[dict[str, Any]]:
    """Subnets with dynamic ranges on VLANs where this rack serves DHCP."""
    cursor.execute(
        "SELECT s.id, s.cidr::text, host(s.gateway_ip) AS gateway_ip, s.dns_servers, "
        "f.name AS fabric FROM maasserver_subnet s JOIN maasserver_vlan v ON v.id = s.vlan_id "
        "JOIN maasserver_fabric f ON f.id = v.fabric_id "
        "WHERE v.dhcp_on AND v.primary_rack_id = %s ORDER BY s.id",
        (rack_id,),
    )
    subnets = []
    for row in cursor.fetchall():
        cursor.execute(
            "SELECT host(start_ip) AS low, host(end_ip) AS high FROM maasserver_iprange "
            "WHERE subnet_id = %s AND type = 'dynamic' ORDER BY start_ip",
            (row.id,),
        )
        ranges = [[r.low, r.high] for r in cursor.fetchall()]
        if ranges:
            subnets.append(
                {
                    "name": f"{row.fabric}-{row.id}",
                    "cidr": row.cidr,
                    "ranges": ranges,
                    "gateway_ip": row.gateway_ip,
                    "dns_servers": row.dns_servers,
                }
            )
    return subnets


def _node(cursor, system_id: str):
    cursor.execute("SELECT * FROM maasserver_node WHERE system_id = %s", (system_id,))
    node = cursor.fetchone()
    if node is None:
        raise LookupError(f"no such rack controller: {system_id}")
    return node


def _listen_on_first_free() -> tuple[socket.socket, int]:
    for port in PORTS:
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True), port
        except OSError:
            pass
        try:
            return socket.create_server(("", port)), port
        except OSError:
            continue
    raise OSError("no RPC port is free in 5250-5259")
