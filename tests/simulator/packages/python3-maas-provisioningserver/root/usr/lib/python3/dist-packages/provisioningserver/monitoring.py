"""Interfaces watched by one daemon of the host, and its long-running observers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from . import networks, paths
from .log import log, maaslog

terse = log("provisioningserver.utils.services")
REFRESH = (
    "20-maas-03-machine-resources",
    "50-maas-01-commissioning",
    "maas-list-modaliases",
    "maas-lshw",
    "maas-serial-ports",
    "maas-support-info",
)


class NetworksMonitor:
    """Every 30 s: interfaces; when they changed, refresh and record them.

    Only the holder of a pid lock does this: regiond or rackd of one host.
    """

    def __init__(self, record: Callable[[dict, dict], None], maas_url: str, observe: bool) -> None:
        self._record, self._url, self._observe = record, maas_url, observe
        self._lock = networks.PidLock("maas:networks-monitoring")
        self._before: dict | None = None
        self._observers: dict[tuple[str, str], tuple[subprocess.Popen, threading.Thread]] = {}
        self._locked = False

    def run(self, every: float = 30.0) -> None:
        forever = threading.Event()
        while True:
            self.once()
            forever.wait(every)

    def once(self) -> None:
        self._locked = self._locked or self._lock.take()
        if not self._locked:
            return
        try:
            found = networks.interfaces()
            if found != self._before:
                self._record(found, refresh(self._url))
                self._before = found
            if self._observe:
                self._watch(found)
        except Exception as error:
            terse.error("Failed to update and/or record network interface configuration: %s", error)

    def _watch(self, found: dict) -> None:
        """Observers run as this user; they use sudo themselves. Respawned."""
        helper = paths.program("/usr/lib/maas/maas-common")
        wanted = {(c, n) for c in ("observe-arp", "observe-beacons") for n in found}
        for key in wanted:
            if key in self._observers:
                process, reader = self._observers[key]
                if reader.is_alive():
                    continue
                terse.error("observer %s %s ended with %s", *key, process.wait())
            process = subprocess.Popen(
                [helper, *key],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            # As Twisted has it: it is buried at once, and over when nobody can write to its output any more.
            threading.Thread(target=process.wait, daemon=True).start()
            reader = threading.Thread(target=process.stdout.read, daemon=True)
            reader.start()
            self._observers[key] = process, reader

    def stop(self) -> None:
        """Ends the observers; what they started through sudo stays behind."""
        for process, _ in self._observers.values():
            process.terminate()
        if self._locked:
            self._lock.release()


def refresh(maas_url: str) -> dict:
    """Run the refresh scripts; the second one prints what gets recorded."""
    parts = urlsplit(maas_url)
    folder = Path(__file__).parent / "refresh"
    result = b""
    with tempfile.TemporaryDirectory(prefix="maas-commission-", dir=paths.data()) as scratch:
        descriptor, resources = tempfile.mkstemp()
        os.close(descriptor)
        environ = {
            **os.environ,
            "MAAS_BASE_URL": f"{parts.scheme}://{parts.netloc}",
            "MAAS_RESOURCES_FILE": resources,
            "OUTPUT_COMBINED_PATH": f"{scratch}/combined",
            "OUTPUT_STDOUT_PATH": f"{scratch}/out",
            "OUTPUT_STDERR_PATH": f"{scratch}/err",
            "RESULT_PATH": f"{scratch}/result.yaml",
            "TMPDIR": scratch,
        }
        failed = []
        for script in REFRESH:
            run = subprocess.run(
                ["sudo", "-E", str(folder / script)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environ,
                timeout=60.0,
                check=False,
            )
            if script.startswith("50-"):
                result = run.stdout
            if run.returncode:
                failed.append(script)
                terse.error("%s: %s", script, run.stderr.decode(errors="replace").strip()[-300:])
        os.unlink(resources)
    if failed:
        maaslog("refresh").error("Failed refreshing: %s", ", ".join(failed))
    return json.loads(result)
