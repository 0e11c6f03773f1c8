"""The start page: what it says, and a real nginx that shows it until MAAS answers."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from harness import until

from maas_init import start_page
from maas_init.configure import http as web
from maas_init.paths import Paths

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def service(level: str, because: str = "", description: str = "Name server (bind9)") -> dict[str, str]:
    return {"level": level, "because": because, "description": description}


def status(**changes: Any) -> dict[str, Any]:
    return {"level": "starting", "summary": "migrating 212/514", "services": {}} | changes


class Text(HTMLParser):
    """Collects what a reader sees, and checks that every element is closed by its own end."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: dict[str, list[dict[str, str | None]]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.setdefault(tag, []).append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.seen.append(data.strip())


def test_page_tells_what_is_going_on_and_which_service_waits_for_what() -> None:
    services = {"bind9": service("ready", "answers"), "proxy": service("blocked", "it needs volumes", "Proxy")}
    page = Text(start_page.html(status(services=services)))
    assert page.seen[:2] == ["MAAS is starting", "MAAS is starting"]
    assert "migrating 212/514" in page.seen
    position = page.seen.index("Proxy")
    assert page.seen[position : position + 3] == ["Proxy", "blocked", "it needs volumes"]


def test_page_leaves_out_what_nobody_wants() -> None:
    assert "DHCP server" not in start_page.html(status(services={"dhcpd": service("off", description="DHCP server")}))


def test_page_shows_how_far_long_work_is() -> None:
    progress = {"step": "schema", "summary": "migrating 212/514", "done": 212, "total": 514}
    (bar,) = Text(start_page.html(status(progress=progress))).attributes["progress"]
    assert (bar["value"], bar["max"]) == ("212", "514")
    assert "progress" not in Text(start_page.html(status(progress=progress | {"total": 0}))).attributes
    assert "progress" not in Text(start_page.html(status(progress=None))).attributes


@pytest.mark.parametrize(
    ("level", "heading"),
    [("starting", "MAAS is starting"), ("stopping", "MAAS is stopping"), ("unhealthy", "MAAS does not answer")],
)
def test_heading_is_true(level: str, heading: str) -> None:
    assert Text(start_page.html(status(level=level))).seen[0] == heading
    assert json.loads(start_page.as_json(status(level=level)))["error"] == heading


def test_no_text_becomes_markup() -> None:
    evil = '<script>alert("x")</script>&'
    services = {"a": service("down", evil, evil)}
    progress = {"step": f'"{evil}', "done": 1, "total": 2}
    page = Text(start_page.html(status(summary=evil, services=services, progress=progress)))
    assert page.seen.count(evil) == 3
    assert page.attributes["progress"][0]["aria-label"] == f'"{evil}'
    assert len(page.attributes["script"]) == 1


def test_page_needs_nothing_from_elsewhere() -> None:
    page = start_page.html(status())
    assert "http://" not in page and "https://" not in page and "src=" not in page and "<link" not in page


def test_page_comes_again_without_scripts() -> None:
    assert {"http-equiv": "refresh", "content": "5"} in Text(start_page.html(status())).attributes["meta"]


def test_programs_are_told_the_levels() -> None:
    told = json.loads(start_page.as_json(status(services={"bind9": service("ready")})))
    assert told == {
        "error": "MAAS is starting",
        "level": "starting",
        "summary": "migrating 212/514",
        "progress": None,
        "services": {"bind9": "ready"},
    }


# nginx


class Maas(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"MAAS")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Front:
    """An nginx with our frame, on a port of its own; MAAS's site and MAAS itself come when the test says so."""

    def __init__(self, where: Paths, port: int) -> None:
        self.where, self.port = where, port
        self.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Maas, bind_and_activate=False)
        self.backend.server_bind()
        for directory in ("/run/maas-init/http", "/var/lib/maas/http", "/etc/nginx"):
            where.at(directory).mkdir(parents=True)
        shutil.copy("/etc/nginx/mime.types", where.at("/etc/nginx/mime.types"))
        for file in web.files(where, with_region=True):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.text.replace("5240", str(port)))
        conf = where.run / "http/nginx.conf"
        self.nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", conf, "-g", "daemon off;"])

    def ask(self, path: str = "/", accept: str = BROWSER) -> tuple[int, str, dict[str, str]]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def show_site(self) -> None:
        """Do what regiond does: write the site, ask for a reload."""
        site = self.where.maas_data / "http/regiond.nginx.conf"
        site.write_text(
            f"""
            server {{
                listen [::]:{self.port};
                listen {self.port};
                location /MAAS {{ proxy_pass http://127.0.0.1:{self.backend.server_port}; }}
            }}
            """
        )
        self.nginx.send_signal(signal.SIGHUP)

    def start_maas(self) -> None:
        self.backend.server_activate()
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()

    def stop_maas(self) -> None:
        self.backend.shutdown()
        self.backend.server_close()


@pytest.fixture
def front() -> Iterator[Front]:
    directory = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
    directory.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    front = Front(Paths(directory), port)
    until(answering(front))
    yield front
    front.nginx.terminate()
    front.nginx.wait()
    front.backend.server_close()
    shutil.rmtree(directory)


def answering(front: Front) -> Callable[[], bool]:
    def answers() -> bool:
        with contextlib.suppress(urllib.error.URLError):
            return front.ask()[0] == 503
        return False

    return answers


@pytest.mark.process
@pytest.mark.parametrize("path", ["/", "/MAAS", "/MAAS/r/", "/MAAS/api/2.0/version/", "/anything?else"])
def test_every_address_shows_the_page_before_maas_has_a_site(front: Front, path: str) -> None:
    code, text, headers = front.ask(path)
    assert (code, Text(text).seen[0], headers["Retry-After"]) == (503, "MAAS is starting", "5")
    assert (headers["Cache-Control"], headers["Content-Type"]) == ("no-store", "text/html")


@pytest.mark.process
def test_program_gets_json(front: Front) -> None:
    code, text, headers = front.ask("/MAAS/api/2.0/version/", accept="*/*")
    assert (code, json.loads(text)["level"], headers["Retry-After"]) == (503, "starting", "5")
    assert headers["Content-Type"] == "application/json"


@pytest.mark.process
def test_maas_takes_over_without_a_gap_and_the_page_is_back_when_it_dies(front: Front) -> None:
    seen: list[str] = []
    end = threading.Event()

    def watch() -> None:
        while not end.is_set():
            try:
                code, text, _ = front.ask("/MAAS/api/2.0/version/")
                seen.append("MAAS" if text == "MAAS" else f"{code} {Text(text).seen[0]}")
            except OSError as error:
                seen.append(repr(error))
            end.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until(lambda: len(seen) > 5)
        front.start_maas()
        front.show_site()
        until(lambda: seen[-1] == "MAAS")
        front.stop_maas()
        until(lambda: seen[-1] != "MAAS")
    finally:
        end.set()
        watcher.join()
    page = "503 MAAS is starting"
    assert [what for what, _ in groupby(seen)] == [page, "MAAS", page]
