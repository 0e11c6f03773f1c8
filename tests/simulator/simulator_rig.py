"""Helpers of the simulator's tests: an unpacked MAAS and a Pebble that runs nothing."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")
HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
IS_ROOT = os.geteuid() == 0
UNPRIVILEGED = {"user": "nobody", "group": "nogroup", "extra_groups": []} if IS_ROOT else {}


GENEROUS = 90.0
"""Seconds for what takes two on an idle machine."""


def until(true: Callable[[], T], within: float) -> T:
    """Return the first answer that is true."""
    deadline = time.monotonic() + within
    while not (answer := true()):
        assert time.monotonic() < deadline, f"not true within {within:g} s"
        time.sleep(0.05)
    return answer


@dataclass
class Maas:
    """One unpacked MAAS with its own folders and, perhaps, a database."""

    root: Path
    data: Path
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *argv: str, stdin: str = "", check: bool = False, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            input=stdin,
            env=self.environ | environ,
            text=True,
            capture_output=True,
            timeout=60,
            check=check,
        )

    def django(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return self.run(PYTHON, "-m", "django", *words, **options)

    def program(self, path: str) -> str:
        return str(self.root / path.lstrip("/"))


class FakePebble:
    """Answers as Pebble does, remembers what it was asked, runs nothing."""

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self.active: set[str] = set()
        pebble = self

        class Handler(BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silence."""

            def reply(self, body: object) -> None:
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if url.path.startswith("/v1/changes"):
                    self.reply({"result": {"ready": True, "status": "Done"}})
                    return
                (name,) = parse_qs(url.query)["names"]
                pebble.asked.append(f"status {name}")
                current = "active" if name in pebble.active else "inactive"
                self.reply({"type": "sync", "result": [{"name": name, "current": current}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                (name,) = body["services"]
                verb = body.get("action") or body["signal"]
                pebble.asked.append(f"{verb} {name}")
                if verb == "stop":
                    pebble.active.discard(name)
                elif verb != "SIGHUP":
                    pebble.active.add(name)
                self.reply({"type": "async", "change": "1"})

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
