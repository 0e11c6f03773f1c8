"""regiond: a master that keeps workers alive and drives the region's services.

The program is started by its path: the master runs argv[0] again for each
worker, and tells it so through the environment.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

from provisioningserver import log, simulation, uvloop_hazard

from . import config, database
from .start_up import start_up

terse = log.log("regiond")


def main() -> None:
    if os.environ.get("MAAS_REGIOND_PROCESS_MODE") == "worker":
        from .worker import main as worker

        worker()
        return
    parser = argparse.ArgumentParser(description="MAAS region controller (simulator)")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    Master(args).run()


class Master:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.stopped = threading.Event()
        self.ready = threading.Event()
        self.region = None
        self.workers: dict[int, subprocess.Popen] = {}

    def run(self) -> None:
        """Workers are started from the main thread only: they die with it."""
        if not uvloop_hazard.arm():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stopped.set())
        simulation.misbehave("regiond")
        threading.Thread(target=self._start, daemon=True).start()
        while not self.stopped.is_set():
            if self.ready.is_set():
                self._keep_workers()
                self.stopped.wait(0.25)
            else:
                self.stopped.wait(0.05)
        self._stop()

    def _start(self) -> None:
        database.wait_for_server()
        said = config.read()
        log.begin(self.args.debug or said.debug)
        terse.info("%s", simulation.NOTICE)
        time.sleep(simulation.number("regiond-slow-start", 0.0))
        node_id = start_up(master=True)
        from .region_services import Region

        self.count = self.args.workers or max(1, int(said.num_workers))
        self.region = Region(node_id, self.count)
        self.region.start()
        self.ready.set()

    def _keep_workers(self) -> None:
        for number in range(self.count):
            process = self.workers.get(number)
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                terse.error("Worker %d (pid %d) died: %d", number, process.pid, process.returncode)
            environ = os.environ | {
                "MAAS_REGIOND_PROCESS_MODE": "worker",
                "MAAS_REGIOND_WORKER_ID": str(number),
                "MAAS_REGIOND_WORKER_COUNT": str(self.count),
                "MAAS_REGIOND_RUN_IMPORTER_SERVICE": "true" if number == 0 else "false",
            }
            self.workers[number] = subprocess.Popen([sys.argv[0]], env=environ)
            terse.info("Worker %d is pid %d", number, self.workers[number].pid)

    def _stop(self) -> None:
        """Workers are killed, not asked. It takes MAAS some 3 s when it was up."""
        terse.info("Received SIGTERM, shutting down.")
        for process in self.workers.values():
            process.kill()
        if self.region:
            self.region.stop()
            time.sleep(simulation.number("regiond-stop-seconds", 2.8))
        else:
            time.sleep(0.5)
        os._exit(0)
