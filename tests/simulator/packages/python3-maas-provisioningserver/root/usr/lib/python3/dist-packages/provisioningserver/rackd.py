"""rackd: waits for the secret, connects to the regions, serves machines that boot."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

from . import config, log, networks, paths, simulation, uvloop_hazard
from .http_server import Request, Response, serve
from .rack_services import RackServices
from .region_link import RegionLink
from .tftp import TftpServer

terse = log.log("rackd")
BOOTLOADERS = ("/usr/lib/PXELINUX/lpxelinux.0", "/usr/lib/syslinux/modules/bios")


def main() -> None:
    settings = config.read(paths.rack_conf(), config.RACK)
    log.begin(settings.debug)
    terse.info("%s", simulation.NOTICE)
    stopped = threading.Event()
    if not uvloop_hazard.arm():
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
    simulation.misbehave("rackd")
    run = _Run(settings)
    threading.Thread(target=run.start, daemon=True).start()
    stopped.wait()
    terse.info("Received SIGTERM, shutting down.")
    run.stop()
    time.sleep(simulation.number("rackd-stop-seconds", 0.5))
    os._exit(0)


class _Run:
    def __init__(self, settings) -> None:
        self.settings = settings
        self.services: RackServices | None = None

    def start(self) -> None:
        if not self._secret_within(simulation.number("secret-wait-seconds", 300.0)):
            terse.error("No shared secret after the wait: no service is started, for ever.")
            return
        root = Path(self.settings.tftp_root)
        _prepare_boot_files(root)
        self.services = RackServices(self.settings)
        link = RegionLink(self.settings, self.services)
        self.services.link = link
        try:
            _listen_for_leases(link)
        except OSError as error:
            terse.critical("Failed to listen on dhcpd.sock: %s", error)
        serve(_boot_server(root), 5249)
        tftp = TftpServer(root, self.settings.tftp_port, self.settings.tftp_max_blksize)
        for run in (link.run, self.services.run, lambda: tftp.run(_tftp_addresses)):
            threading.Thread(target=run, daemon=True).start()

    def stop(self) -> None:
        if self.services:
            self.services.stop()

    @staticmethod
    def _secret_within(seconds: float) -> bool:
        """A blocking wait; afterwards the process stays alive with nothing in it."""
        deadline = time.monotonic() + seconds
        while not paths.data("secret").exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
        return True


def _prepare_boot_files(root: Path) -> None:
    """What MAAS writes at every start, and the boot loaders that it imports.

    The simulator takes the loaders from the distribution's packages.
    """
    try:
        (root / "grub").mkdir(parents=True, exist_ok=True)
        grub = root / "grub/grub.cfg"
        if not grub.exists():
            grub.write_text("# SIMULATOR: real MAAS chooses by MAC address here\nhalt\n")
        (root / "ipxe.cfg").write_text(
            "#!ipxe\necho MAAS simulator: ipxe.cfg\nchain ipxe.cfg-${mac:hexhyp} || chain ipxe.cfg-default-amd64\n"
        )
        for source in map(Path, BOOTLOADERS):
            for file in sorted(source.glob("*.c32")) if source.is_dir() else [source]:
                target = root / file.name
                if file.exists() and not target.exists():
                    target.write_bytes(file.read_bytes())
    except OSError as error:
        terse.error("Cannot write boot files: %s", error)


def _tftp_addresses() -> list[str]:
    """Own addresses, loopback too, but no link-local ones."""
    found = ["127.0.0.1"]
    try:
        found += [a for a in networks.addresses(networks.interfaces()) if ":" not in a]
    except Exception as error:
        terse.error("Cannot list addresses for TFTP: %s", error)
    return found


def _boot_server(root: Path):
    """Port 5249: /boot/ for nginx, /log for its auth_request, /metrics."""

    def answer(request: Request) -> Response:
        if request.path == "/log":
            wanted = request.headers.get("X-Original-URI", "?")
            who = request.headers.get("X-Original-Remote-IP", "?")
            terse.info("%s requested by %s", wanted, who)
            return Response()
        if request.path == "/metrics":
            return Response(body=b"# SIMULATOR\nmaas_rackd_up 1\n")
        if request.path.startswith("/boot/"):
            name = request.path.removeprefix("/boot/")
            who = request.headers.get("X-Forwarded-For", "?")
            terse.info("%s requested by %s", name, who)
            path = (root / name).resolve()
            if path.is_relative_to(root.resolve()) and path.is_file():
                return Response(200, path.read_bytes(), "application/octet-stream")
        return Response(404, b"not found\n")

    return answer


def _listen_for_leases(link: RegionLink) -> None:
    """dhcpd's helper reports here. An old socket file makes the bind fail."""
    path = paths.data("dhcpd.sock")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    os.chmod(path, 0o666)

    def run() -> None:
        while True:
            link.lease(sock.recv(65536))

    threading.Thread(target=run, daemon=True).start()
