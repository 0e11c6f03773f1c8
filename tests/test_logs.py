"""Reading what services printed: the newest records, what comes after them, and journalctl's words for it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PROGRAMS, Container, until

from maas_init import journalctl, loglines
from maas_init.errors import MaasInitError
from maas_init.loglines import Record
from maas_init.logs import Follower, last
from maas_init.paths import Paths
from maas_init.unixhttp import UnixConnection


def at(second: int, message: str, service: str = "bind9", level: str = "info") -> str:
    stamp = f"2026-11-24T13:{second // 60:02}:{second % 60:02}.000Z"
    return loglines.render(Record(stamp, level, service, message))


def service(unit: str) -> dict[str, object]:
    """Return what the status file says of a service that runs."""
    desired = {"on": True, "owner": "init", "reason": "", "at": 1.0, "moment": 1.0}
    words = {"level": "ready", "because": "", "why": "", "description": "", "process": "RUNNING", "start": "boot"}
    numbers = {"pid": 7, "since": 1.0, "failed": 0, "restarts": 0}
    return {
        **words,
        **numbers,
        "unit": unit,
        "capabilities": [],
        "missing_capabilities": [],
        "reloadable": True,
        "desired": desired,
    }


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    where = Paths(tmp_path)
    where.maas_logs.mkdir(parents=True)
    where.run.mkdir(parents=True)
    services = {"bind9": service("bind9"), "http": service("maas-http")}
    pxe = {"ready": "yes", "reasons": []}
    status = {
        "schema": 1,
        "level": "healthy",
        "summary": "",
        "uptime": 1.0,
        "pxe": pxe,
        "images": None,
        "services": services,
    }
    where.status.write_text(json.dumps(status))
    (where.maas_logs / "bind9.log").write_text("".join(at(second, f"b{second}") for second in (1, 3, 5)))
    (where.maas_logs / "http.log").write_text("".join(at(second, f"h{second}", "http") for second in (2, 4)))
    return where


def newest(where: Paths, services: list[str], count: int | None) -> list[str]:
    with contextlib.closing(Follower(where, services, count)) as follower:
        return messages(follower.history)


def messages(records: list[Record]) -> list[str]:
    return [record.message for record in records]


def test_newest_records_of_all_come_in_the_order_of_time(where: Paths) -> None:
    assert newest(where, ["bind9", "http"], None) == ["b1", "h2", "b3", "h4", "b5"]
    assert newest(where, ["bind9", "http"], 3) == ["b3", "h4", "b5"]
    assert newest(where, ["bind9", "http"], 0) == []
    assert newest(where, ["http", "absent"], None) == ["h2", "h4"]


def test_file_before_the_last_rotation_is_read_when_the_present_one_is_not_enough(where: Paths) -> None:
    (where.maas_logs / "bind9.log.1").write_text(at(0, "older"))
    assert newest(where, ["bind9"], 4) == ["older", "b1", "b3", "b5"]
    assert newest(where, ["bind9"], 3) == ["b1", "b3", "b5"]


def test_last_lines_until_a_time_are_found_however_much_came_after(where: Paths) -> None:
    (where.maas_logs / "bind9.log").write_text("".join(at(second, f"b{second}") for second in range(1000)))
    until_then = "2026-11-24T13:01:40.000Z"
    assert [line.split()[-1] for line in last(where, "bind9", 3, until=until_then)] == ["b98", "b99", "b100"]
    assert len(last(where, "bind9", 200, until=until_then)) == 101
    assert last(where, "absent", 3, until=until_then) == []


@pytest.mark.parametrize("count", [1, 999, 5000, None])
def test_end_of_a_long_file_is_whole(where: Paths, count: int | None) -> None:
    (where.maas_logs / "bind9.log").write_text("".join(at(second % 3600, f"line {second}") for second in range(3600)))
    found = newest(where, ["bind9"], count)
    assert found == [f"line {second}" for second in range(3600)][-(count or 3600) :]


def test_what_comes_later_is_followed_across_rotations_without_loss_or_repetition(where: Paths) -> None:
    file = where.maas_logs / "bind9.log"
    follower = Follower(where, ["bind9", "later"], 1)
    assert messages(follower.history) == ["b5"]
    assert follower.new() == []
    with file.open("a") as stream:
        stream.write(at(6, "b6") + at(7, "b7")[:10])
    assert messages(follower.new()) == ["b6"]
    with file.open("a") as stream:
        stream.write(at(7, "b7")[10:] + at(8, "b8"))
    file.rename(f"{file}.1")
    file.write_text(at(9, "b9"))
    (where.maas_logs / "later.log").write_text(at(10, "first", "later"))
    assert messages(follower.new()) == ["b7", "b8", "b9", "first"]
    file.write_text("")  # cleared
    assert follower.new() == []
    with file.open("a") as stream:
        stream.write(at(11, "b11"))
    assert messages(follower.new()) == ["b11"]
    follower.close()


def printed(where: Paths, *argv: str) -> str:
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        assert journalctl.main(argv, where) == 0
        return sys.stdout.getvalue()
    finally:
        sys.stdout = before


@pytest.mark.parametrize("unit", ["http", "maas-http", "maas-http.service"])
def test_journalctl_shows_a_service_under_every_name_it_has(where: Paths, unit: str) -> None:
    assert printed(where, "-u", unit, "-o", "cat") == "h2\nh4\n"


def test_journalctl_shows_everything_in_syslog_s_form(where: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    lines = printed(where, "--no-pager", "-n", "2").splitlines()
    assert [line.split()[:3] + line.split()[4:] for line in lines] == [
        ["Nov", "24", "13:00:04", "http:", "h4"],
        ["Nov", "24", "13:00:05", "bind9:", "b5"],
    ]


def test_journalctl_selects_reverses_and_counts(where: Paths) -> None:
    with (where.maas_logs / "bind9.log").open("a") as stream:
        stream.write(at(9, "bad", level="error") + at(10, "worse", level="critical"))
    assert printed(where, "-p", "err", "-r", "-o", "cat") == "worse\nbad\n"
    assert printed(where, "-u", "bind9", "-u", "http", "-n", "3", "-ocat") == "b5\nbad\nworse\n"
    assert json.loads(printed(where, "-n1", "--output=json"))["level"] == "critical"
    assert (
        printed(where, "-u", "http", "-n") == printed(where, "-n", "-u", "http") == printed(where, "-u", "http", "-n10")
    )
    assert printed(where, "-u", "http", "-p", "crit") == "-- No entries --\n"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("-u", "nothing"), "bind9, http"),
        (("-n", "-1"), "a number or all"),
        (("--since", "today"), "journalctl --help"),
        (("-o", "export"), "short-iso"),
        (("-p", "loud"), "warning"),
        (("_PID=1",), "-u UNIT"),
    ],
)
def test_journalctl_says_what_it_does_not_understand(where: Paths, argv: tuple[str, ...], told: str) -> None:
    with pytest.raises(MaasInitError) as failure:
        printed(where, *argv)
    assert told in str(failure.value)


@pytest.fixture
def following(where: Paths) -> Iterator[subprocess.Popen[str]]:
    command = [str(PROGRAMS / "maas-init"), "journalctl", "-f", "-u", "bind9", "-o", "cat"]
    environ = {"MAAS_INIT_ROOT": str(where.root), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.process
def test_journalctl_follows(where: Paths, following: subprocess.Popen[str]) -> None:
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(3)] == ["b1\n", "b3\n", "b5\n"]
    with (where.maas_logs / "bind9.log").open("a") as stream:
        stream.write(at(9, "later"))
    assert following.stdout.readline() == "later\n"
    following.send_signal(2)
    until(lambda: following.poll() is not None)
    assert following.returncode == 130


# Over the Pebble socket.


def talker(container: Container, name: str) -> None:
    """Add a service that prints one line and whatever is written into its pipe."""
    pipe = container.root / f"{name}.pipe"
    text = f"print('hello from {name}')\nwhile True: print(open('{pipe}').read())"
    (container.root / f"{name}.py").write_text(text)
    os.mkfifo(pipe)
    container.service(
        name,
        command=f"{sys.executable} -u -S -E {container.root}/{name}.py",
        program={"stdout_logfile": f"{container.paths.maas_logs}/{name}.log"},
    )


@contextlib.contextmanager
def asked(container: Container, query: str) -> Iterator[http.client.HTTPResponse]:
    connection = UnixConnection(container.paths.pebble_socket, 30.0)
    connection.request("GET", f"/v1/logs{query}")
    with contextlib.closing(connection), connection.getresponse() as response:
        yield response


def lines(container: Container, query: str) -> list[dict[str, str]]:
    with asked(container, query) as response:
        assert (response.status, response.getheader("Content-Type")) == (200, "application/x-ndjson")
        return [json.loads(text) for text in response.read().splitlines()]


@pytest.mark.process
def test_pebble_s_clients_read_and_follow_logs(container: Container) -> None:
    for name in ("one", "two"):
        talker(container, name)
    container.start()
    until(lambda: container.all_("healthy"))
    until(lambda: len(newest(container.paths, ["one", "two"], None)) == 2)
    until(lambda: "one hello from one" in container.output)

    (line,) = lines(container, "?services=one")
    assert line.keys() == {"time", "service", "message"}
    assert (line["service"], line["message"]) == ("one", "hello from one")
    assert {each["service"] for each in lines(container, "?n=-1")} == {"one", "two"}
    assert lines(container, "?n=0") == []

    with asked(container, "?follow=true") as response:
        (container.root / "two.pipe").write_text("and later\n")
        assert json.loads(response.readline())["message"] == "and later"
    for wrong in ("?n=-2", "?n=many", "?follow=maybe"):
        with asked(container, wrong) as response:
            assert (response.status, json.loads(response.read())["type"]) == (400, "error")
    assert container.is_("one", "ready"), "the client that went harmed nothing"
