"""The status page and the metrics: what they say, and a real nginx that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness import until
from pages import Nginx, Text
from prometheus_client.parser import text_string_to_metric_families

from maas_init import metrics, pxe, status_page
from maas_init.configure import http as web
from maas_init.pxe import Import, Surroundings

EVIL = '<script>alert("x")</script>&'
MACHINES = Surroundings(imported=True, bridged=False)
COMING = Import(files=3, of_files=14, megabytes=812, of_megabytes=1940)


def service(level: str = "ready", **changes: Any) -> dict[str, Any]:
    return {
        "description": "",
        "level": level,
        "because": "it answers",
        "why": f"it is {level}",
        "pid": 7,
        "since": 40.0,
        "restarts": 0,
        "failed": 0,
        "missing_capabilities": [],
        "desired": {"on": True, "owner": "init", "reason": "it starts with the container"},
        "boot": {"started": 40.0, "ready": 41.5},
        "check": {"ok": True, "detail": "it answers", "seconds": 0.0123, "failures": 0},
    } | changes


def status(**changes: Any) -> dict[str, Any]:
    return {
        "level": "healthy",
        "summary": "2 services are ready",
        "time": "2026-01-01T00:00:00Z",
        "uptime": 100.0,
        "progress": None,
        "services": {"bind9": service(), "proxy": service()},
        "pxe": {"ready": "yes", "reasons": []},
        "images": None,
        "events": [],
        "ready_at": None,
    } | changes


RACK = {name: service(why=f"{name} is ready") for name in (*pxe.NEEDED, "dhcpd")}


def test_page_shows_every_service_with_its_last_answer_and_who_wants_it() -> None:
    bind9 = service("unwell", description="DNS", because="no answer", restarts=3)
    page = Text(status_page.html(status(level="degraded", services={"bind9": bind9})))
    assert page.seen[1] == "MAAS works, but not all of it"
    position = page.seen.index("bind9: DNS")
    row = ["unwell", "1min 0s", "no answer", "12.3 ms", "3", "on, by init: it starts with the container"]
    assert page.seen[position + 1 : position + 1 + len(row)] == row


def test_page_shows_the_start_as_bars_one_below_the_other() -> None:
    services = {
        "first": service(boot={"started": 10.0, "ready": 12.0}),
        "second": service(boot={"started": 12.0, "ready": 20.0}),
        "never": service("up", boot={"started": 15.0, "ready": None}),
        "off": service("off", boot=None),
        "later": service(boot={"started": 4000.0, "ready": 4001.0}),
    }
    page = Text(status_page.html(status(services=services, ready_at=20.0)))
    bars = [each["style"] for each in page.attributes["span"] if "style" in each]
    assert bars == [
        "margin-left:0.0%;width:20.0%",
        "margin-left:20.0%;width:80.0%",
        "margin-left:50.0%;width:50.0%",
    ]
    assert page.seen[page.seen.index("second", page.seen.index("The start")) :][:3] == ["second", "2.0 s", "10.0 s"]


def test_page_shows_what_happened_last_first() -> None:
    events = [{"time": f"T{each}", "level": "info", "text": f"event {each}"} for each in range(3)]
    page = Text(status_page.html(status(events=events)))
    assert [text for text in page.seen if text.startswith("event")] == ["event 2", "event 1", "event 0"]


def test_page_names_missing_rights_and_what_does_not_work_without() -> None:
    page = Text(status_page.html(status(services={"dhcpd": service("blocked", missing_capabilities=["net_raw"])})))
    what = "DHCP, and MAAS's discovery of what else is on its networks, need raw sockets"
    assert f"without NET_RAW (dhcpd): {what}" in page.seen
    assert "none" in Text(status_page.html(status())).seen


def test_no_text_becomes_markup() -> None:
    desired = {"on": True, "owner": EVIL, "reason": EVIL}
    evil = service(EVIL, description=EVIL, because=EVIL, why=EVIL, missing_capabilities=[EVIL], desired=desired)
    page = Text(
        status_page.html(
            status(
                summary=EVIL,
                services={EVIL: evil},
                pxe={"ready": "no", "reasons": [EVIL]},
                events=[{"time": EVIL, "level": "error", "text": EVIL}],
                progress={"step": EVIL, "done": 1, "total": 2},
            )
        )
    )
    assert len(page.attributes["script"]) == 1
    assert sum(EVIL in text for text in page.seen) >= 8


def test_page_shows_how_far_the_boot_images_are() -> None:
    page = Text(status_page.html(status(images=COMING._asdict())))
    assert "MAAS is fetching boot images: 3 of 14 files are here, 812 of 1,940 MB" in page.seen
    assert {"aria-label": "boot images", "value": "812", "max": "1940"} in page.attributes["progress"]
    assert "progress" not in Text(status_page.html(status())).attributes


def test_page_needs_nothing_from_elsewhere_and_comes_again_without_scripts() -> None:
    page = status_page.html(status())
    assert "http://" not in page and "https://" not in page and "src=" not in page and "<link" not in page
    assert {"http-equiv": "refresh", "content": "10"} in Text(page).attributes["meta"]


# Can machines boot?


@pytest.mark.parametrize(
    ("changes", "around", "ready", "reason"),
    [
        ({}, MACHINES, "yes", ""),
        ({}, None, "yes", ""),
        ({"tftp": service("blocked", why="tftp is blocked: no port")}, MACHINES, "no", "tftp is blocked: no port"),
        ({"dhcpd": service("down", why="dhcpd is down: it exited")}, MACHINES, "no", "dhcpd is down: it exited"),
        ({}, Surroundings(imported=False, bridged=False), "no", "boot loaders and images"),
        ({}, Surroundings(False, False, importing=COMING), "no", "they are being fetched"),
        ({}, Surroundings(True, False, importing=COMING), "yes", ""),
        ({}, Surroundings(imported=None, bridged=False), "yes", ""),
        (
            {"agent": service("off", why="agent is off")},
            Surroundings(imported=None, bridged=False),
            "no",
            "agent is off",
        ),
        ({"agent": service("off"), "regiond": service()}, MACHINES, "yes", ""),
        ({"dhcpd6": service("down", why="dhcpd6 is down")}, MACHINES, "limited", "dhcpd6 is down"),
        ({"dhcpd": service("off")}, MACHINES, "limited", "another DHCP server"),
        ({}, Surroundings(imported=True, bridged=True), "limited", "host networking"),
    ],
)
def test_machines_can_boot_or_it_is_said_why_not(
    changes: dict[str, Any], around: Surroundings | None, ready: str, reason: str
) -> None:
    found = pxe.answer(RACK | changes, around)
    assert found["ready"] == ready
    assert reason in "; ".join(found["reasons"])
    assert bool(found["reasons"]) == bool(reason)


def test_machines_do_not_boot_from_a_region_alone() -> None:
    assert pxe.answer({"regiond": service()}, MACHINES)["ready"] == "elsewhere"
    assert pxe.in_words(pxe.answer({}, None)).startswith("not from here: machines boot from rack controllers")


# Metrics


def samples(**changes: Any) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.text(status(**changes)))
    return {
        (
            sample.name.removeprefix("maas_init_"),
            *(sample.labels[key] for key in ("service", "level", "ready") if key in sample.labels),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_say_what_the_status_says() -> None:
    found = samples(services={"bind9": service("unwell", restarts=3, failed=2), "tls": service(check=None, pid=None)})
    assert found["service_level", "bind9", "unwell"] == 1
    assert found["service_level", "bind9", "ready"] == 0
    assert found["service_restarts_total", "bind9"] == 3
    assert found["service_failures_in_a_row", "bind9"] == 2
    assert found["service_uptime_seconds", "bind9"] == 60
    assert found["service_wanted", "bind9"] == 1
    assert (found["check_success", "bind9"], found["check_duration_seconds", "bind9"]) == (1, 0.0123)
    assert ("check_success", "tls") not in found and ("service_uptime_seconds", "tls") not in found
    assert (found["container_level", "healthy"], found["container_level", "starting"]) == (1, 0)
    assert found["status_timestamp_seconds",] == 1767225600
    assert (found["pxe_ready", "yes"], found["pxe_ready", "no"]) == (1, 0)


# nginx


@pytest.fixture(scope="module")
def shown() -> Iterator[Nginx]:
    nginx = Nginx()
    pages = nginx.where.status_page
    pages.mkdir(parents=True)
    nginx.where.status.write_text(json.dumps(status()))
    (pages / "index.html").write_text(status_page.html(status()))
    (pages / "metrics").write_text(metrics.text(status()))
    nginx.start([web.nginx_conf(nginx.where, with_region=False, status_port=5290)], 5290)
    until(nginx.answers)
    yield nginx
    nginx.remove()


@pytest.mark.process
def test_everything_is_shown_and_nothing_is_kept(shown: Nginx) -> None:
    found = {path: shown.ask(path) for path in ("/", "/status.json", "/metrics")}
    assert {code for code, _, _ in found.values()} == {200}
    kinds = [headers["Content-Type"] for _, _, headers in found.values()]
    assert kinds == ["text/html", "application/json", "text/plain; version=0.0.4; charset=utf-8"]
    assert {headers["Cache-Control"] for _, _, headers in found.values()} == {"no-store"}
    assert json.loads(found["/status.json"][1]) == status()


@pytest.mark.process
@pytest.mark.parametrize("path", ["/index.html", "/settings.json", "/../settings.json", "/%2e%2e/settings.json", "/x"])
def test_nothing_else_is_shown(shown: Nginx, path: str) -> None:
    (shown.where.run / "settings.json").write_text("secret")
    code, text, _ = shown.ask(path)
    assert code in (400, 404)
    assert "secret" not in text


@pytest.mark.process
def test_nothing_can_be_changed(shown: Nginx) -> None:
    assert {shown.ask("/", method=method)[0] for method in ("POST", "PUT", "DELETE")} <= {403, 405}
