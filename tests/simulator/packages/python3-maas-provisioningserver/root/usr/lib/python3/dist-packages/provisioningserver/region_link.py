"""The rack's connections to every worker of every region."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import urllib.request
from typing import Any

from . import files, networks, paths
from .log import log
from .rpc import Connection

terse = log("provisioningserver.rpc.clusterservice")


class RegionLink:
    def __init__(self, settings, services) -> None:
        self.settings, self.services = settings, services
        self.system_id = ""
        self._connections: dict[str, Connection] = {}
        self._addresses: set[str] = set()
        self._was_full = 0

    def run(self) -> None:
        """Look for event loops: every second until connected, then every 30 s."""
        forever = threading.Event()
        while True:
            try:
                self._update(self._advertised())
            except Exception as error:
                terse.error("Failed to connect to the region: %s", error)
            forever.wait(30.0 if self.connected() else 1.0)

    def connected(self) -> bool:
        return bool(self._connections)

    def region_addresses(self) -> list[str]:
        return sorted(self._addresses)

    def ask(self, command: str, **arguments: Any) -> Any:
        connections = list(self._connections.values())
        if not connections:
            raise ConnectionError("no region controller is connected")
        return random.choice(connections).ask(command, **arguments)

    def lease(self, datagram: bytes) -> None:
        """A line from dhcpd's helper, handed on to the region."""
        try:
            self.ask("UpdateLease", lease=json.loads(datagram))
        except Exception as error:
            terse.error("A lease could not be reported: %s", error)

    def _advertised(self) -> dict[str, list[list]]:
        for url in self.settings.maas_url:
            try:
                address = url.rstrip("/") + "/rpc/"
                with urllib.request.urlopen(address, timeout=15.0) as answer:
                    loops = json.load(answer)["eventloops"]
            except Exception as error:
                terse.info("Region not available: %s (While requesting RPC info at %s).", error, url)
                continue
            if loops:
                return loops
            terse.info("Region is not advertising RPC endpoints.")
        return {}

    def _update(self, loops: dict[str, list[list]]) -> None:
        for name, endpoints in loops.items():
            if name not in self._connections:
                self._connect(name, endpoints)
        for name in list(self._connections):
            if loops and name not in loops:
                self._connections[name].close()
        regions = {name.split(":")[0] for name in loops}
        if loops and len(self._connections) == len(loops) != self._was_full:
            self._was_full = len(loops)
            terse.info(
                "Fully connected to all %d event-loops on all %d region controllers.",
                len(loops),
                len(regions),
            )

    def _connect(self, name: str, endpoints: list[list]) -> None:
        for host, port in endpoints:
            try:
                sock = socket.create_connection((host, port), timeout=5.0)
                sock.settimeout(None)
                connection = Connection(sock, {"ConfigureDHCP": self.services.configure_dhcp, "Ping": lambda _: {}})
                secret = bytes.fromhex(paths.data("secret").read_text().strip())
                connection.authenticate(secret)
            except Exception as error:
                terse.error("Cannot connect to event-loop %s at %s: %s", name, host, error)
                continue
            threading.Thread(target=self._listen, args=(name, host, connection), daemon=True).start()
            try:
                self._register(connection)
            except Exception as error:
                terse.error("Failed to register with region: %s", error)
                connection.close()
                continue
            self._connections[name] = connection
            self._addresses.add(host)
            self._remember()
            terse.info("Event-loop %s (%s) connected.", name, host)
            return

    def _register(self, connection: Connection) -> None:
        """Needs the interfaces, and so the sudo that gives them."""
        answer = connection.ask(
            "RegisterRackController",
            system_id=files.read_if_present(paths.data("maas_id")),
            hostname=socket.gethostname(),
            interfaces=networks.interfaces(),
            url=self.settings.maas_url[0],
        )
        self.system_id = answer["system_id"]
        files.atomic_write(answer["system_id"], paths.data("maas_id"), mode=0o640)
        files.atomic_write(answer["uuid"], paths.data("maas_uuid"), mode=0o640)
        certificates = answer.get("certificates") or {}
        if certificates and not all(paths.certificates(name).exists() for name in certificates):
            for name, text in certificates.items():
                mode = 0o600 if name.endswith(".key") else 0o644
                files.atomic_write(text, paths.certificates(name), mode=mode)

    def _listen(self, name: str, host: str, connection: Connection) -> None:
        connection.listen()
        if self._connections.pop(name, None) is None:
            return
        self._was_full = 0
        terse.info("Event-loop %s (%s) disconnected.", name, host)
        if not self._connections:
            self._addresses.clear()
            terse.info("Lost all connections to region controllers. Stopping service(s) dhcpd, dhcpd6.")
            self.services.last_region_lost()
            time.sleep(0.1)

    def _remember(self) -> None:
        """rpc.state: where the regions were, for a start without any."""
        urls = "\n".join(f"http://{a}:5240/MAAS" for a in sorted(self._addresses))
        files.atomic_write(urls, paths.data("rpc.state"), mode=0o644)
