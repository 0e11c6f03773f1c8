"""A regiond worker: HTTP on its own socket, RPC on the first free port."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import threading
import time

from provisioningserver import log, paths, simulation
from provisioningserver.http_server import serve

from . import config, database, importer
from .api.application import answer
from .rpc_server import RpcServer
from .start_up import start_up

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Dies with the master, by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    number = int(os.environ["MAAS_REGIOND_WORKER_ID"])
    said = config.read()
    log.begin(said.debug)
    database.wait_for_server()
    node_id = start_up(master=False)
    rpc = RpcServer(node_id)
    rpc.process_id = _tell_master(rpc.port)
    rpc.start()
    while simulation.switch("hang-worker") == str(number):
        time.sleep(3600.0)
    serve(answer, paths.worker_socket(number))
    if os.environ["MAAS_REGIOND_RUN_IMPORTER_SERVICE"] == "true":
        threading.Thread(target=importer.run, daemon=True).start()
    database.listen({"sys_dhcp": rpc.dhcp_changed})


def _tell_master(port: int) -> int:
    """The connection stays open: its end is how the master hears of ours."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(paths.ipc_socket()))
    stream = sock.makefile("rwb", 0)
    stream.write(json.dumps({"pid": os.getpid(), "port": port}).encode() + b"\n")
    answer = json.loads(stream.readline())
    _keep.append((sock, stream))
    return answer["process_id"]


_keep: list = []
