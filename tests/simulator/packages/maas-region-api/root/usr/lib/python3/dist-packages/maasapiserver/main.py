"""The small API on a Unix socket that nginx shows under /MAAS/a/."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psycopg2

from maasserver import database
from provisioningserver import paths, simulation
from provisioningserver.http_server import Request, Response, serve


def main() -> None:
    print(f"INFO: {simulation.NOTICE}", flush=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    simulation.misbehave("apiserver")
    time.sleep(simulation.number("apiserver-slow-start", 0.3))
    serve(answer, paths.apiserver_socket())
    print(f"INFO: Uvicorn running on unix socket {paths.apiserver_socket()}", flush=True)
    stopped.wait()
    time.sleep(0.5)
    os._exit(0)


def answer(request: Request) -> Response:
    if simulation.switch("hang-apiserver") is not None:
        time.sleep(3600.0)
    if request.path == "/metrics":
        return Response(body=b"# SIMULATOR\nmaas_apiserver_up 1\n")
    if request.path != "/api/v2/":  # nginx shows it as /MAAS/a/v2/
        return Response(404, b'{"detail":"Not Found"}', "application/json")
    try:
        _look_for_client_key()
        with database.transaction() as cursor:
            cursor.execute("SELECT 1")
    except (OSError, psycopg2.Error) as error:
        print(f"ERROR: Exception in ASGI application: {error!r}", flush=True)
        return Response(500, b"Internal Server Error")
    return Response(200, b"{}", "application/json")


def _look_for_client_key() -> None:
    """The database driver looks here; a HOME that is not ours makes it fail."""
    try:
        (Path.home() / ".postgresql/postgresql.key").stat()
    except FileNotFoundError:
        pass
