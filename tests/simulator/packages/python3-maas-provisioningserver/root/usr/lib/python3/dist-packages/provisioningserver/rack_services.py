"""The services that a rack looks after, and the files it writes for them."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

import yaml

from . import dhcp, dns, files, paths, renders, simulation
from .log import log, maaslog
from .monitoring import NetworksMonitor
from .service_monitor import (
    ANY,
    OFF,
    ON,
    Service,
    ServiceActionError,
    ServiceMonitor,
    Toggle,
)

terse = log("provisioningserver.rackdservices")
human = maaslog("rack")
FROM_THE_REGION = (
    ("ntp_rack", "chrony", "ntp"),
    ("dns_rack", "bind9", "bind9"),
    ("proxy_rack", "maas-proxy", "proxy"),
    ("syslog_rack", "maas-syslog", "syslog"),
)


class RackServices:
    def __init__(self, settings) -> None:
        self.settings = settings
        self.link: Any = None
        self.dhcp = {4: Toggle(OFF), 6: Toggle(OFF)}
        self.shared = {name: Toggle(ANY) for name, _, _ in FROM_THE_REGION}
        self.monitor = ServiceMonitor(
            Service("http", "maas-http", "http"),
            Service("dhcpd", "maas-dhcpd", "dhcpd", self.dhcp[4]),
            Service("dhcpd6", "maas-dhcpd6", "dhcpd6", self.dhcp[6]),
            *(
                Service(name, unit, short, self.shared[name], ("-s", "SIGKILL"))
                for name, unit, short in FROM_THE_REGION
            ),
            Service("agent", "maas-agent", "agent"),
        )
        self._written: dict[str, str] = {}
        self._dhcp_lock = threading.Lock()
        self._networks: NetworksMonitor | None = None

    def run(self) -> None:
        """Every 30 s, and only with a region; before that look every 5 s."""
        forever = threading.Event()
        every = simulation.number("monitor-seconds", 30.0)
        while True:
            if not self.link.connected():
                forever.wait(min(5.0, every))
                continue
            self._with_region()
            forever.wait(every)

    def _with_region(self) -> None:
        try:
            known = self.link.ask("GetControllerConfiguration", system_id=self.link.system_id)
        except Exception as error:
            terse.error("No configuration from the region: %s", error)
            return
        for step in (self._http, self._agent, self._rack_only):
            try:
                step(known)
            except Exception as error:
                terse.critical("Failed to update %s configuration: %s", step.__name__[1:], error)
        self._look_at_networks(known)
        self.monitor.ensure_all()
        rows = [("rackd", "running", ""), ("tftp", "running", ""), *self.monitor.report()]
        try:
            self.link.ask("UpdateServices", system_id=self.link.system_id, services=rows)
        except Exception as error:
            terse.error("Failed to report services: %s", error)

    def _http(self, known: dict) -> None:
        text = renders.rack_nginx(self.link.region_addresses())
        if self._changed("http", text):
            files.atomic_write(text, paths.http("rackd.nginx.conf"), mode=0o644)
            self.monitor.reload("http")
            self._written["http"] = text

    def _agent(self, known: dict) -> None:
        """Written and restarted once per start of rackd, and when it changes."""
        text = yaml.safe_dump(
            {
                "maas_uuid": known["maas_uuid"],
                "system_id": self.link.system_id,
                "secret": paths.data("secret").read_text().strip(),
                "controllers": [urlsplit(url).hostname for url in self.settings.maas_url],
                "log_level": "debug" if self.settings.debug else "info",
                "httpproxy": {
                    "cache_size": int(self.settings.httpproxy_cache_size),
                    "cache_dir": str(paths.cache() / "httpproxy"),
                },
            }
        )
        if self._changed("agent", text):
            files.atomic_write(text, paths.agent_conf(), mode=0o600)
            self.monitor.restart("agent")
            self._written["agent"] = text

    def _rack_only(self, known: dict) -> None:
        """On a rack without a region the rack writes what regiond would."""
        if known["is_region"]:
            for toggle in self.shared.values():
                toggle.set(ANY)
            return
        regions = self.link.region_addresses()
        self.shared["ntp_rack"].set(ON)
        self.shared["dns_rack"].set(ON)
        self.shared["syslog_rack"].set(ON)
        self.shared["proxy_rack"].set(ON if known["proxy_enabled"] else OFF)
        key = repr((regions, known["proxy_enabled"]))
        if not self._changed("rack-only", key):
            return
        maas_conf = paths.root("/etc/chrony/maas.conf")
        chrony = paths.root("/etc/chrony/chrony.conf")
        files.sudo_write_file(maas_conf, renders.chrony_maas(regions, 1), 0o644)
        existing = files.read_if_present(chrony) or ""
        files.sudo_write_file(chrony, renders.chrony(existing, maas_conf), 0o644)
        self.monitor.restart("ntp_rack")
        dns.write_options(regions, "no")
        dns.write_config({}, known["networks"])
        dns.reload()
        port = known["proxy_port"]
        text = renders.squid(known["networks"], port, known["hostname"], regions)
        files.atomic_write(text, paths.proxy_conf(), mode=0o644)
        self.monitor.reload("proxy_rack")
        files.atomic_write(renders.rsyslog(5247, regions), paths.syslog("rsyslog.conf"), 0o644)
        self.monitor.restart("syslog_rack")
        self._written["rack-only"] = key

    def _changed(self, what: str, text: str) -> bool:
        return self._written.get(what) != text

    def _look_at_networks(self, known: dict) -> None:
        if self._networks is None:
            self._networks = NetworksMonitor(
                lambda found, _: self.link.ask("UpdateInterfaces", system_id=self.link.system_id, interfaces=found),
                self.settings.maas_url[0],
                known["network_discovery"],
            )
            threading.Thread(target=self._networks.run, daemon=True).start()

    def configure_dhcp(self, _, version: int, subnets: list[dict], omapi_key: str) -> dict:
        """From the region; the whole job may take 30 s there."""
        with self._dhcp_lock:
            dhcp.configure(version, subnets, omapi_key, self.monitor, self.dhcp[version])
        return {}

    def last_region_lost(self) -> None:
        """Without a region nobody answers for leases: DHCP goes off."""
        for version, name in ((4, "dhcpd"), (6, "dhcpd6")):
            self.dhcp[version].set(OFF, "no region controller is connected")
            try:
                self.monitor.ensure(name)
            except ServiceActionError:
                pass
            except Exception as error:
                human.error("While monitoring service '%s': %s", name, error)

    def stop(self) -> None:
        if self._networks:
            self._networks.stop()
