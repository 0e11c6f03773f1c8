"""What the regiond master does besides its workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from urllib.parse import urlsplit

from provisioningserver import files, networks, paths, renders, simulation
from provisioningserver.http_server import Request, Response, serve
from provisioningserver.log import log, maaslog
from provisioningserver.monitoring import NetworksMonitor
from provisioningserver.service_monitor import OFF, ON, Service, ServiceMonitor

from . import config, controllers, database
from .region_dns import RegionDns
from .temporal_config import write_temporal

terse = log("maasserver.regiondservices")
human = maaslog("region")


class Region:
    def __init__(self, node_id: int, workers: int) -> None:
        self.node_id, self.workers = node_id, workers
        self.monitor = ServiceMonitor(
            Service("bind9", "bind9", "bind9", kill_options=("-s", "SIGKILL")),
            Service("ntp_region", "chrony", "ntp"),
            Service("syslog_region", "maas-syslog", "syslog"),
            Service("proxy", "maas-proxy", "proxy", expected_proxy),
            Service("reverse_proxy", "maas-http", "http"),
            Service("temporal", "maas-temporal", "temporal"),
            Service("temporal-worker", "maas-temporal-worker", "temporal-worker"),
        )
        self.dns = RegionDns(self.monitor)
        self.pids: dict[int, int] = {}
        self._written: dict[str, str] = {}
        with database.transaction() as cursor:
            observe = database.get_config(cursor, "network_discovery") == "enabled"
        self._networks = NetworksMonitor(self._record_interfaces, config.read().maas_url, observe)

    def start(self) -> None:
        """All at once; the first monitor round is the first thing the init hears."""
        self._listen_to_workers()
        serve(_metrics, 5239)
        every = simulation.number("monitor-seconds", 30.0)
        for run in (
            lambda: _for_ever(self._monitor_round, every),
            lambda: _for_ever(self._ntp, every),
            lambda: _for_ever(self._syslog, every),
            self._http,
            self._proxy,
            self._temporal,
            self.dns.run,
            self._networks.run,
            lambda: _for_ever(self._advertise, every=60.0),
            lambda: database.listen(
                {
                    "sys_dns": self.dns.request,
                    "sys_proxy": lambda _: self._proxy(),
                    "sys_reverse_proxy": lambda _: self._http(),
                }
            ),
        ):
            threading.Thread(target=_logged(run), daemon=True).start()

    def stop(self) -> None:
        self._networks.stop()
        try:
            with database.transaction() as cursor:
                cursor.execute(
                    "DELETE FROM maasserver_regioncontrollerprocess WHERE region_id = %s",
                    (self.node_id,),
                )
        except Exception as error:
            terse.error("Processes stay in the database: %s", error)

    def _monitor_round(self) -> None:
        self.monitor.ensure_all()
        healthy = len(self.pids) >= self.workers
        own = (
            "regiond",
            "running" if healthy else "degraded",
            "" if healthy else f"{len(self.pids)} processes running but {self.workers} were expected.",
        )
        with database.transaction() as cursor:
            controllers.set_services(cursor, self.node_id, [own, *self.monitor.report()])

    def _ntp(self) -> None:
        with database.transaction() as cursor:
            servers = database.get_config(cursor, "ntp_servers").replace(",", " ").split()
        text = renders.chrony_maas(servers, offset=0)
        if self._written.get("ntp") == text:
            return
        maas_conf = paths.root("/etc/chrony/maas.conf")
        chrony = paths.root("/etc/chrony/chrony.conf")
        files.sudo_write_file(maas_conf, text, 0o644)
        existing = files.read_if_present(chrony) or ""
        files.sudo_write_file(chrony, renders.chrony(existing, maas_conf), 0o644)
        self.monitor.restart("ntp_region")
        self._written["ntp"] = text

    def _syslog(self) -> None:
        with database.transaction() as cursor:
            port = database.get_config(cursor, "maas_syslog_port")
            promtail = database.get_config(cursor, "promtail_enabled")
            promtail_port = database.get_config(cursor, "promtail_port") if promtail else 0
        text = renders.rsyslog(port, promtail_port=promtail_port)
        if self._written.get("syslog") == text:
            return
        files.atomic_write(text, paths.syslog("rsyslog.conf"), mode=0o644)
        self.monitor.restart("syslog_region")
        self._written["syslog"] = text

    def _proxy(self) -> None:
        with database.transaction() as cursor:
            cursor.execute("SELECT cidr::text FROM maasserver_subnet ORDER BY id")
            subnets = [row.cidr for row in cursor.fetchall()]
            port = database.get_config(cursor, "maas_proxy_port")
            peer = database.get_config(cursor, "http_proxy")
            peers = database.get_config(cursor, "use_peer_proxy") and peer
        text = renders.squid(subnets, port, socket.getfqdn(), [_host(peer)] if peers else [])
        files.atomic_write(text, paths.proxy_conf(), mode=0o644)
        self.monitor.reload("proxy")

    def _http(self) -> None:
        with database.transaction() as cursor:
            tls_port = database.get_config(cursor, "tls_port")
            tls = database.get_secret(cursor, "tls")
        pair = None
        if tls_port and tls:
            folder = paths.http("certs")
            folder.mkdir(exist_ok=True)
            pair = (folder / "regiond-proxy-key.pem", folder / "regiond-proxy.pem")
            files.atomic_write(tls["key"], pair[0], mode=0o600)
            files.atomic_write(tls["cert"] + tls.get("cacert", ""), pair[1], mode=0o644)
        text = renders.region_nginx(self.workers, tls_port, pair)
        files.atomic_write(text, paths.http("regiond.nginx.conf"), mode=0o644)
        self.monitor.reload("reverse_proxy")

    def _temporal(self) -> None:
        """Write its configuration; then ask until it is active. Once only."""
        write_temporal()
        try:
            while self.monitor.state("temporal")[0] != ON:
                time.sleep(1.0)
        except Exception as error:
            terse.critical("Temporal workers are given up for this run: %s", error)

    def _record_interfaces(self, found: dict, _: dict) -> None:
        with database.transaction() as cursor:
            controllers.set_interfaces(cursor, self.node_id, found)
        _logged(self._proxy)()
        self.dns.request("interfaces")
        self._advertise()

    def _listen_to_workers(self) -> None:
        """maas-regiond.sock: a worker says its pid and port, and stays connected."""
        path = paths.ipc_socket()
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        os.chmod(path, 0o666)
        listener.listen(16)

        def accept() -> None:
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._worker, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _worker(self, sock: socket.socket) -> None:
        stream = sock.makefile("rwb", 0)
        said = json.loads(stream.readline())
        with database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO maasserver_regioncontrollerprocess (region_id, pid) VALUES (%s, %s) "
                "ON CONFLICT (region_id, pid) DO UPDATE SET updated = now() RETURNING id",
                (self.node_id, said["pid"]),
            )
            process_id = cursor.fetchone().id
        self.pids[said["pid"]] = said["port"]
        stream.write(json.dumps({"process_id": process_id}).encode() + b"\n")
        _logged(self._advertise)()
        stream.read(1)  # returns when the worker is gone
        self.pids.pop(said["pid"], None)
        _logged(self._advertise)()

    def _advertise(self) -> None:
        """Publish where the workers listen; that needs sudo for the addresses."""
        addresses = networks.addresses(networks.interfaces())
        with database.transaction() as cursor:
            cursor.execute(
                "UPDATE maasserver_node SET hostname = %s WHERE id = %s",
                (controllers.hostname(), self.node_id),
            )
            cursor.execute(
                "DELETE FROM maasserver_regioncontrollerprocess WHERE region_id = %s AND NOT pid = ANY(%s)",
                (self.node_id, list(self.pids)),
            )
            for pid, port in list(self.pids.items()):
                cursor.execute(
                    "UPDATE maasserver_regioncontrollerprocess SET updated = now() "
                    "WHERE region_id = %s AND pid = %s RETURNING id",
                    (self.node_id, pid),
                )
                row = cursor.fetchone()
                if row is None:
                    continue
                cursor.execute(
                    "DELETE FROM maasserver_regioncontrollerprocessendpoint WHERE process_id = %s",
                    (row.id,),
                )
                for address in addresses:
                    cursor.execute(
                        "INSERT INTO maasserver_regioncontrollerprocessendpoint "
                        "(process_id, address, port) VALUES (%s, %s, %s)",
                        (row.id, address, port),
                    )


def expected_proxy() -> tuple[str, str | None]:
    with database.transaction() as cursor:
        enabled, upstream, peer = (
            database.get_config(cursor, name) for name in ("enable_http_proxy", "http_proxy", "use_peer_proxy")
        )
    if not enabled:
        return OFF, "proxy disabled."
    if upstream and not peer:
        return OFF, "disabled, alternate proxy is configured in settings."
    if not os.access(paths.proxy_conf(), os.R_OK):
        return OFF, "no configuration file present."
    return ON, None


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _metrics(request: Request) -> Response:
    if request.path != "/metrics":
        return Response(404)
    return Response(body=b"# SIMULATOR\nmaas_regiond_up 1\n")


def _logged(run):
    """A service that fails says so and leaves the others alone."""

    def safely() -> None:
        try:
            run()
        except (Exception, subprocess.TimeoutExpired) as error:
            terse.critical("%s: %s", type(error).__name__, error)

    return safely


def _for_ever(run, every: float) -> None:
    forever = threading.Event()
    while True:
        _logged(run)()
        forever.wait(every)
