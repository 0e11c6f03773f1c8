"""The start page: what it says, and a real nginx that shows it until MAAS answers."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from harness import until
from pages import Nginx, Text

from maas_init import start_page
from maas_init.configure import http as web


def service(level: str, because: str = "", description: str = "Name server (bind9)") -> dict[str, str]:
    return {"level": level, "because": because, "description": description}


def status(**changes: Any) -> dict[str, Any]:
    return {"level": "starting", "summary": "migrating 212/514", "services": {}} | changes


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


class Front(Nginx):
    """An nginx with our frame, on a port of its own; MAAS's site and MAAS itself come when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Maas, bind_and_activate=False)
        self.backend.server_bind()
        self.start([*web.files(self.where, with_region=True, status_port=0)], 5240)

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
        self.reload()

    def start_maas(self) -> None:
        self.backend.server_activate()
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()

    def stop_maas(self) -> None:
        self.backend.shutdown()
        self.backend.server_close()


@pytest.fixture
def front() -> Iterator[Front]:
    front = Front()
    until(front.answers)
    yield front
    front.remove()
    front.backend.server_close()


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
