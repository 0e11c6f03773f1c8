"""The region's zones: a full write, a reload, and a look whether named has it."""

from __future__ import annotations

import threading
import time

from provisioningserver import dns, simulation
from provisioningserver.log import log, maaslog
from provisioningserver.service_monitor import ServiceMonitor

from . import controllers, database

terse = log("maasserver.region_controller")
human = maaslog("dns")


class DnsReloadError(Exception):
    """named does not answer with what was written."""


class RegionDns:
    def __init__(self, monitor: ServiceMonitor) -> None:
        self._monitor = monitor
        self._wanted = threading.Event()
        self._wanted.set()
        self._reason = ""

    def request(self, reason: str) -> None:
        self._reason = reason
        self._wanted.set()

    def run(self) -> None:
        first = True
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self.update()
                terse.info(
                    "Reloaded DNS configuration; %s.",
                    "regiond started" if first else self._reason,
                )
                first = False
            except DnsReloadError as error:
                terse.critical("Failed configuring DNS; killing and restarting: %s", error)
                self._kill()
                self._wanted.set()
            except Exception as error:
                terse.critical("Failed configuring DNS: %s", error)
                time.sleep(5.0)
                self._wanted.set()

    def _kill(self) -> None:
        try:
            self._monitor.kill("bind9")
        except Exception as error:
            terse.error("Failed to kill and restart DNS: %s", error)

    def update(self) -> None:
        with database.locked(database.DNS) as cursor:
            cursor.execute("SELECT nextval('maasserver_zone_serial_seq') AS serial")
            serial = cursor.fetchone().serial
            cursor.execute(
                "INSERT INTO maasserver_dnspublication (serial, source) VALUES (%s, %s)",
                (serial, self._reason or "regiond started"),
            )
            upstream = (database.get_config(cursor, "upstream_dns") or "").split()
            dnssec = database.get_config(cursor, "dnssec_validation")
            ttl = database.get_config(cursor, "default_dns_ttl")
            trusted, zones = self._content(cursor)
        dns.write_options(upstream, dnssec)
        written = {name: dns.write_zone(name, serial, ttl, r) for name, r in zones.items()}
        dns.write_config(written, trusted)
        if not dns.reload():
            raise DnsReloadError("BIND could not be reloaded")
        self._check([z for z in zones if not z.endswith(".arpa")], serial)

    @staticmethod
    def _content(cursor) -> tuple[list[str], dict[str, list[str]]]:
        """Trusted networks, and the records of each zone."""
        cursor.execute("SELECT cidr::text FROM maasserver_subnet ORDER BY id")
        subnets = [row.cidr for row in cursor.fetchall()]
        cursor.execute("SELECT name FROM maasserver_domain WHERE authoritative")
        zones: dict[str, list[str]] = {row.name: [] for row in cursor.fetchall()}
        zones[database.get_config(cursor, "maas_internal_domain")] = []
        for cidr in subnets:
            zones.setdefault(dns.reverse_zone(cidr), [])
        cursor.execute(
            "SELECT n.hostname, i.addresses FROM maasserver_interface i JOIN maasserver_node n ON n.id = i.node_id"
        )
        records = {(row.hostname, cidr.split("/")[0]) for row in cursor.fetchall() for cidr in row.addresses}
        cursor.execute("SELECT hostname, host(ip) AS ip FROM maasserver_staticipaddress")
        records |= {(row.hostname, row.ip) for row in cursor.fetchall() if row.hostname}
        records |= {(controllers.hostname(), "127.0.0.1")} if not records else set()
        zones["maas"] += [f"{host} IN {'AAAA' if ':' in ip else 'A'} {ip}" for host, ip in sorted(records)]
        return subnets, zones

    @staticmethod
    def _check(zones: list[str], serial: int) -> None:
        """Up to 30 rounds of 2 s; then named is not to be trusted."""
        if simulation.switch("dns-mismatch") is not None:
            raise DnsReloadError("simulated serial mismatch")
        rounds = int(simulation.number("dns-check-rounds", 30))
        missing = list(zones)
        for _ in range(rounds):
            missing = [zone for zone in missing if dns.soa_serial(zone) != serial]
            if not missing:
                return
            time.sleep(2.0)
        raise DnsReloadError(f"serial mismatch on domains {', '.join(missing)}")
