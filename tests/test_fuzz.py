"""Anything at all, said to everything of ours that listens: no crash, no command outside the allow-list, no way out.

`make fuzz` tries 10,000 cases of each; `make test` fewer, always the same ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from harness import REQUIRED, Container, can_connect, until
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import maas_init
from maas_init import asking, configure, discovery, journalctl, logs, masks, report, systemctl
from maas_init.errors import MaasInitError, SettingsError
from maas_init.listen import events, publish
from maas_init.loglines import LONGEST, Assembler, render
from maas_init.paths import Paths
from maas_init.settings import VARIABLES, RegionSettings, Settings

pytestmark = pytest.mark.process

CASES = int(os.environ.get("MAAS_INIT_FUZZ_CASES", "500"))
many = hypothesis_settings(max_examples=CASES, suppress_health_check=list(HealthCheck))

ROOT = Path(__file__).parents[1]
BRIDGE = Path(maas_init.__file__).parent / "bridge"
no_nul = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


# Settings.

NAMES = [variable.name for variable in VARIABLES]
GOOD = {
    "MAAS_ROLE": "region",
    "POSTGRES_HOST": "db.example.com",
    "POSTGRES_SSLMODE": "verify-full",
    "POSTGRES_SSLROOTCERT": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "MAAS_REGION_SECRET": "ab" * 16,
    "MAAS_REGION_URLS": "http://a:5240/MAAS http://b:5240/MAAS",
    "MAAS_DNS_FORWARDER": "1.1.1.1,8.8.8.8",
}
settings_texts = st.text(max_size=60) | st.text(st.sampled_from(" '\"\\%${}\n\r\t;#:/.-_@[]0aZ"), max_size=30)
settings_texts |= st.sampled_from([*GOOD.values(), *REQUIRED.values(), "true", "rack", "embedded", "/run/postgresql"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a place with a secret of every name that is half right."""
    root = tmp_path_factory.mktemp("root")
    (root / "run/secrets").mkdir(parents=True)
    (root / "run/secrets/maas_admin_email").write_bytes(b"admin@example.com\r\n")
    (root / "run/secrets/maas_debug").write_bytes(b"\xff\xfe")
    (root / "run/secrets/postgres_port").symlink_to("nowhere")
    (root / "run/secrets/maas_url").mkdir()
    return root


def test_any_environment_gives_settings_or_a_settings_error(root: Path) -> None:
    names = [*NAMES, *(f"{name}_FILE" for name in NAMES)]
    required = st.sampled_from([{}, REQUIRED])

    @many
    @given(required, st.dictionaries(st.sampled_from(names), settings_texts, max_size=6), st.booleans())
    def case(base: dict[str, str], environ: dict[str, str], elsewhere: bool) -> None:
        try:
            found = Settings.from_environ(base | environ, Paths(root if elsewhere else Path("/nowhere")))
        except SettingsError as error:
            assert str(error).replace("\n", "").isprintable()
            return
        # What is said twice, once as a secret and once not, is none.
        said = [*base.values(), *environ.values()]
        own = [secret for secret in found.secrets() if len(secret) > 25 and said.count(secret) == 1]
        assert not [secret for secret in own if secret in repr(found)]
        if isinstance(found, RegionSettings):
            plain = (found.database.host, found.database.name, found.database.user, found.maas_url.text)
            assert all(each.isascii() and each.isprintable() and '"' not in each for each in plain)
        for planned in configure.postgresql_tls(found, Paths(root)):
            assert planned.path.parent == Paths(root).postgresql_tls

    case()


# The bridge sudo.

SUDOERS = sorted(ROOT.glob("tests/simulator/packages/*/root/etc/sudoers.d/99-maas-*"))


def rules() -> list[tuple[str, str]]:
    """Return every program of MAAS's own sudoers files, and the arguments it may have (nothing for any)."""
    found = []
    for file in SUDOERS:
        for line in file.read_text().splitlines():
            if line.startswith("maas ALL="):
                rule = line.partition("NOPASSWD:")[2].strip().removeprefix("SETENV:").strip()
                program, _, arguments = rule.partition(" ")
                found.append((program, arguments))
    return found


OTHERS = {"tee", "nmap", "maas-init", "python3"}
"""Programs that no rule names and that the bridge may run."""
RULES = rules()
PATHS = {program for program, _ in RULES}


def permitted(argv: list[str]) -> bool:
    """Return whether a command may run, by the rules alone; a second opinion on what the bridge does."""
    said = " ".join(argv[1:])
    return any(
        argv[0] in (program, program.rpartition("/")[2]) and (not pattern or fnmatch.fnmatchcase(said, pattern))
        for program, pattern in RULES
    )


def said_to_another(ran: str, *arguments: str) -> list[str]:
    """Return the command itself where the bridge has another program run it."""
    if ran == "maas-init":
        assert arguments[0] == "discovery"
        ran = arguments[1].rpartition("/")[2]
        assert ran in discovery.COMMANDS
        return [ran, *arguments[2:]]
    if ran == "python3":
        assert arguments[:3] == ("-I", "-m", "provisioningserver")
        return ["maas-common", *arguments[3:]]
    return [ran, *arguments]


def test_the_bridge_runs_nothing_but_what_the_rules_allow(tmp_path: Path) -> None:
    """Thousands of cases in one shell: a stand-in for every program says which one ran and with what."""
    programs, sudoers, seen = tmp_path / "bin", tmp_path / "sudoers.d", tmp_path / "seen"
    for directory in (programs, sudoers, seen):
        directory.mkdir()
    stand_in = '#!/bin/sh\nprintf "%s\\0" "${0##*/}" "$@" > "$SEEN"\n'
    for name in {program.rpartition("/")[2] for program, _ in RULES} | {*OTHERS, "id", "sh", "cat"}:
        (programs / name).write_text(stand_in)
        (programs / name).chmod(0o755)
    for file in SUDOERS:
        text = file.read_text()
        for program, _ in RULES:
            text = text.replace(f"NOPASSWD: {program}", f"NOPASSWD: {programs}/{program.rpartition('/')[2]}")
        (sudoers / file.name).write_text(text)
    words = st.sampled_from([word for rule in RULES for part in rule for word in part.split()] + ["id", "sh", "cat"])
    odd = no_nul | st.sampled_from(
        ["", "-", "--", "-c", "-u", "*", "?", "$(id)", "`id`", "; id", "\n", "../bin/id", "-n"]
    )
    options = st.lists(
        st.sampled_from(["-n", "--non-interactive", "-E", "-u", "maas", "root", "--", "-S", "-i"]), max_size=3
    )
    rule = st.sampled_from([[program, *arguments.split()] for program, arguments in RULES])
    near = st.tuples(rule, st.lists(odd, max_size=2)).map(lambda both: [*both[0], *both[1]])
    near |= st.tuples(rule, odd, st.integers(0, 6)).map(lambda it: [*it[0][: it[2]], it[1], *it[0][it[2] + 1 :]])
    cases: list[tuple[list[str], list[str]]] = []

    @many
    @given(options, rule | near | st.lists(words | odd, max_size=5))
    def collect(before: list[str], argv: list[str]) -> None:
        moved = [
            f"{programs}/{word.rpartition('/')[2]}" if (word, "") in RULES or word in PATHS else word for word in argv
        ]
        cases.append((before, moved))

    collect()
    driver = [f"PATH={programs}:/usr/bin:/bin", f"MAAS_INIT_SUDOERS={sudoers}", "export MAAS_INIT_SUDOERS PATH"]
    for number, (before, argv) in enumerate(cases):
        said = " ".join(map(shlex.quote, ["--", *before, *argv]))
        driver.append(f"(SEEN={seen}/{number}; export SEEN; set {said}; . {BRIDGE}/sudo) < /dev/null > /dev/null 2>&1")
    (tmp_path / "driver").write_text("\n".join(driver))
    subprocess.run(["dash", str(tmp_path / "driver")], check=False, cwd=tmp_path)

    allowed = 0
    for number, (before, argv) in enumerate(cases):
        file = seen / str(number)
        if not file.exists():
            continue
        ran, *arguments = file.read_bytes().decode().split("\0")[:-1]
        allowed += 1
        rest = [*before, *argv]
        ran, *arguments = said_to_another(ran, *arguments)
        command = rest[len(rest) - len(arguments) - 1 :]
        assert command[1:] == arguments, (before, argv)
        assert command[0] in (ran, f"{programs}/{ran}"), (before, argv)
        original = next((path for path in PATHS if path.rpartition("/")[2] == ran and "/" in command[0]), ran)
        options_taken = rest[: len(rest) - len(command)]
        as_maas = bool({("-u", "maas"), ("--user", "maas")} & {*pairwise(options_taken)})
        if as_maas:
            assert command[0] == "tee", (before, argv)
        else:
            assert command[0] == "nmap" or permitted([original, *arguments]), (before, argv)
    assert allowed > len(cases) / 20, "too few got through to mean anything"
    outside = {path.name for path in tmp_path.iterdir()}
    assert outside == {"bin", "sudoers.d", "seen", "driver"}


# The bridge systemctl, in process, with somebody at the other end of the socket who notes what is asked.

SERVICE = {
    "description": "a service",
    "unit": "maas-one",
    "start": "boot",
    "level": "ready",
    "because": "it is ready",
    "why": "it is ready",
    "critical": True,
    "reloadable": True,
    "capabilities": ["net_raw"],
    "missing_capabilities": ["net_raw"],
    "process": "RUNNING",
    "pid": 7,
    "since": 1.0,
    "restarts": 0,
    "failed": 0,
    "requires": [],
    "desired": {"on": True, "owner": "init", "reason": "it is part of the container", "at": 1.0, "moment": 1.0},
    "check": None,
}
STATUS = {
    "schema": 1,
    "level": "healthy",
    "summary": "all is well",
    "uptime": 1.0,
    "progress": None,
    "pxe": {"ready": "no", "reasons": ["nothing"]},
    "images": {"files": 1, "of_files": 2, "megabytes": 3, "of_megabytes": 4},
    "services": {"one": SERVICE, "two": SERVICE | {"unit": "", "reloadable": False, "process": "STOPPED", "pid": None}},
}


class Pebble(threading.Thread):
    """Answers every request as if it were done; notes them."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.asked: list[tuple[str, str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(64)

    def run(self) -> None:
        while True:
            client, _ = self._socket.accept()
            with client, client.makefile("rb") as stream:
                method, path, _ = stream.readline().decode().split()
                length = 0
                while (line := stream.readline().strip().lower()) != b"":
                    length = int(line.partition(b":")[2]) if line.startswith(b"content-length:") else length
                body = json.loads(stream.read(length)) if length else None
                self.asked.append((method, path, body))
                answer = json.dumps({"result": True if "signals" in path else {"err": ""}, "change": "1"}).encode()
                status = 202 if path == "/v1/services" else 200
                client.sendall(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))


@pytest.fixture(scope="module")
def where() -> Iterator[Paths]:
    box = Container()
    box.paths.run.mkdir(parents=True)
    box.paths.maas_logs.mkdir(parents=True)
    yield box.paths
    box.close()


def test_systemctl_asks_only_for_services_there_are(where: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    # Long ago: the listener says nothing, which is told and changes nothing.
    where.status.write_text(json.dumps(STATUS))
    pebble = Pebble(where.pebble_socket)
    pebble.start()
    names = st.sampled_from(["one", "two", "maas-one", "maas-one.service", "o*", "[", "../one", "three", "-", ""])
    option = st.sampled_from([f"--{name}" for name in systemctl.LONG] + [f"-{letter}" for letter in systemctl.SHORT])
    verb = st.sampled_from([*systemctl.VERBS, "stop", "start", "kill", "enable"])

    usual = st.tuples(verb, st.lists(names, min_size=1, max_size=2)).map(lambda both: [both[0], *both[1]])
    odd = st.tuples(st.lists(option | no_nul, max_size=2), verb | no_nul, st.lists(names | no_nul | option, max_size=4))

    @many
    @given(usual | odd.map(lambda three: [*three[0], three[1], *three[2]]))
    def case(argv: list[str]) -> None:
        try:
            assert systemctl.main(argv, where) in range(256)
        except MaasInitError as error:
            assert str(error).startswith("cannot ")
        capsys.readouterr()

    case()
    assert len(pebble.asked) > CASES / 20, "too few asked for anything"
    signals = {each.name for each in signal.Signals}
    for method, path, body in pebble.asked:
        if method == "GET":
            assert path == f"/v1/changes/1/wait?timeout={asking.WAIT}"
            continue
        assert len(body["services"]) == 1
        assert body["services"][0] in STATUS["services"]  # type: ignore[operator]
        if path == "/v1/signals":
            assert body["signal"] in signals
        else:
            assert path == "/v1/services"
            assert body["action"] in ("start", "stop", "restart")


# The status file, read by people's commands and by the next listener.

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def paths_into(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths_into(part, (*path, key))


def changed(path: tuple[str, ...], value: Any) -> Any:
    """Return the status with one part replaced."""
    whole = json.loads(json.dumps(STATUS))
    if not path:
        return value
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return whole


def test_any_status_file_is_told_or_refused(where: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    places = st.sampled_from(list(paths_into(STATUS)))

    def in_words(value: Any) -> bytes:
        return json.dumps(value).encode()

    whole = st.tuples(places, anything).map(lambda both: in_words(changed(*both))) | st.binary(max_size=200)
    cut = st.integers(0, 2000).map(lambda length: in_words(STATUS)[:length])
    commands: tuple[Callable[[], int], ...] = (
        lambda: report.status(where),
        lambda: report.why(where, "one"),
        lambda: report.why(where, "container"),
        lambda: systemctl.main(["status"], where),
        lambda: systemctl.main(["status", "one", "three"], where),
        lambda: systemctl.main(["show"], where),
        lambda: systemctl.main(["list-units", "--all"], where),
        lambda: journalctl.main(["-u", "one"], where),
    )

    @many
    @given(whole | cut)
    def case(content: bytes) -> None:
        where.status.write_bytes(content)
        for command in commands:
            # As the command line has it: what the character set lacks is replaced.
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace"))
            monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace"))
            with contextlib.suppress(MaasInitError):
                assert command() in range(256)
        for desired in publish.desired_before(where).values():
            assert isinstance(desired.on, bool)
            assert desired.moment >= 0

    case()


# What services print, and what supervisord says to its listener.


def test_any_line_becomes_a_record_without_secrets() -> None:
    mine = masks.Masks(["p@ss word"])
    pieces = st.binary(max_size=200) | st.sampled_from(
        [b"Traceback (most recent call last):\n", b"  File\n", b"p@ss word", b"\n", b"\x1b[31m", b"x" * (LONGEST + 1)]
    )

    @many
    @given(st.lists(pieces, max_size=6))
    def case(said: list[bytes]) -> None:
        assembler = Assembler("one")
        records = [record for piece in said for record in assembler.feed(piece)]
        records += assembler.flush()
        for record in records:
            for form in ("console", "json"):
                text = render(record._replace(message=mine.hide(record.message)), form)
                assert text.endswith("\n")
                assert "p@ss word" not in text
                assert not [sign for sign in text if sign < " " and sign not in "\n\t"]

    case()


def test_any_event_is_understood_or_ends_the_listener_with_a_reason() -> None:
    good = b"ver:3.0 server:maas serial:1 pool:health poolserial:1 eventname:PROCESS_STATE_EXITED len:4\nabcd"
    mutated = st.tuples(st.integers(0, len(good)), st.binary(max_size=8), st.integers(0, 20)).map(
        lambda it: good[: it[0]] + it[1] + good[it[0] + it[2] :]
    )
    cases: list[bytes] = []

    @many
    @given(st.lists(mutated | st.just(good) | st.binary(max_size=100), max_size=4).map(b"".join))
    def collect(said: bytes) -> None:
        cases.append(said)

    async def follow(said: bytes) -> tuple[list[str], bytes]:
        (events_read, events_write), (answers_read, answers_write) = os.pipe(), os.pipe()
        os.write(events_write, said)
        os.close(events_write)
        names: list[str] = []
        try:
            with contextlib.suppress(MaasInitError):
                await events.follow(events.Protocol(events_read, answers_write), names.append)
            os.close(answers_write)
            return names, os.read(answers_read, 65536)
        finally:
            os.close(events_read)
            os.close(answers_read)

    async def all_of_them() -> int:
        heard = 0
        for said in [*cases, b"x" * 66000]:
            names, answered = await follow(said[:65000])
            assert answered == b"READY\n" + b"RESULT 2\nOKREADY\n" * len(names), "nothing else may be said"
            heard += len(names)
        return heard

    collect()
    assert asyncio.run(all_of_them()) > CASES / 10, "too few were events"


# The Pebble socket of a real container.


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    container = Container()
    container.service("one", critical="yes")
    container.service("two", start="request")
    container.start()
    until(lambda: container.all_("healthy"))
    yield container
    container.close()


def test_any_request_is_answered_and_the_listener_stays(box: Container) -> None:
    listener, files = box.pid("health"), sorted(path for path in box.root.rglob("*") if "log" not in path.name)
    words = ["v1", "services", "signals", "changes", "logs", "plan", "checks", "health", "files", "exec", "..", "", "1"]
    words += ["system-info", "warnings", "notices", "wait", "%2e%2e", "*", "identities", "layers", "tasks"]
    path = st.lists(st.sampled_from(words) | st.text(max_size=6), max_size=4).map(lambda each: "/" + "/".join(each))
    value = st.sampled_from(["one", "two", "all", "-1", "0", "yaml", "1ms", "alive", "../x", ""]) | st.text(max_size=6)
    name = st.sampled_from(["names", "select", "n", "format", "timeout", "level", "services", "for", "action", "path"])
    query = st.dictionaries(name, value, max_size=3)
    # A container is not stopped by those who may ask for services, but the listener is one of its processes.
    services = st.lists(st.sampled_from(["one", "two", "three", "", "../one", "-"]) | leaves, max_size=3)
    action = st.sampled_from(["start", "stop", "restart", "autostart", "replan", "abort", "write"]) | leaves
    signals = st.sampled_from(["SIGHUP", "SIGTERM", "SIGKILL", "hup", "SIGRTMIN", "0", ""]) | leaves
    payload = st.fixed_dictionaries(
        {}, optional={"action": action, "services": services, "signal": signals, "checks": services}
    )
    body = (payload | anything).map(lambda each: json.dumps(each).encode()) | st.binary(max_size=60)
    method = st.sampled_from(["GET", "POST", "POST", "PUT", "DELETE", "HEAD", "get", "OPTIONS", "CONNECT", "X"])
    ready = st.sampled_from(["/v1/services", "/v1/signals", "/v1/checks", "/v1/logs", "/v1/changes/1", "/v1/plan"])

    def request(method: str, path: str, query: dict[str, str], body: bytes, raw: bytes) -> bytes:
        target = quote(path, safe="/%*") + (f"?{urlencode(query)}" if query else "")
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body + raw

    whole = st.builds(request, method, ready | path, query, body, st.just(b"") | st.binary(max_size=30))
    raw = st.binary(max_size=120) | st.tuples(whole, st.integers(0, 80), st.binary(max_size=6)).map(
        lambda it: it[0][: it[1]] + it[2] + it[0][it[1] :]
    )
    answered = 0

    @many
    @given(whole | raw)
    def case(said: bytes) -> None:
        nonlocal answered
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        with client, contextlib.suppress(ConnectionError):
            client.connect(str(box.paths.pebble_socket))
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            if answer:
                assert answer.startswith(b"HTTP/1.1 "), said
                head, _, content = answer.partition(b"\r\n\r\n")
                if b"application/json" in head and content and b"HTTP/1.1" not in content:
                    assert json.loads(content)["type"] in ("sync", "async", "error"), said
                answered += 1

    case()
    assert answered > CASES / 2
    assert box.pid("health") == listener, "it is the same listener"
    assert "Traceback" not in box.output
    status, _ = box.ask("POST", "/v1/services", {"action": "start", "services": ["one"]})
    assert status == 202
    now = sorted(path for path in box.root.rglob("*") if "log" not in path.name)
    # The listener's own is written now and then, asked or not.
    new = {path.name for path in set(now) - set(files)} - {"journal", "metrics"}
    assert not [name for name in new if not name.startswith((".", "one.", "two."))], "no request writes a file"


def test_journalctl_reads_no_other_file(where: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    (where.maas_logs / "one.log").write_text("2026-01-01T00:00:00.000Z info    one hello\n")
    secret = where.root / "etc"
    secret.mkdir(exist_ok=True)
    (secret / "x.log").write_text("2026-01-01T00:00:00.000Z info    x private\n")
    names = no_nul | st.sampled_from(["one", "../../../etc/x", "/etc/x", "..", "one.service", "../maas/one", "*"])
    options = st.sampled_from(["-u", "-n", "-r", "-p", "-o", "-a", "--no-pager", "--since", "-b"]) | no_nul

    @many
    @given(st.lists(options, max_size=2), names)
    def case(before: list[str], name: str) -> None:
        words = [word for word in before if not word.startswith(("-f", "--f"))]
        with contextlib.suppress(MaasInitError):
            assert journalctl.main([*words, "-u", name], where) in range(256)
        assert "private" not in capsys.readouterr().out
        assert all("/" not in each for each in logs.names(where))

    case()


# Discovery: what may open raw sockets runs what MAAS runs.


def test_discovery_runs_nothing_but_what_maas_says(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    where.run.mkdir(parents=True)
    seen = tmp_path / "seen"
    for path, _ in discovery.COMMANDS.values():
        where.at(path).parent.mkdir(parents=True, exist_ok=True)
        where.at(path).write_text(f'#!/bin/sh\nprintf "%s\\0" "${{0##*/}}" "$@" > {seen}\n')
        where.at(path).chmod(0o755)
    threading.Thread(target=discovery.serve, args=(where,), daemon=True).start()

    until(lambda: can_connect(where.discovery_socket))
    scan = ["nmap", "-e", "eth0", "--max-rate", "9", "-sn", "-n", "-oX", "-", "-PR", "192.0.2.0/24"]
    known = [
        *(scan, scan[:3] + scan[5:], ["maas-netmon", "eth0"], ["beacon-monitor", "eth0"]),
        *(["ping", "-c", "1", "192.0.2.1"], ["ping", "-c", "1", "-I", "eth0", "192.0.2.1"]),
    ]
    words = st.sampled_from(sorted({word for each in known for word in each} | {"/usr/bin/id", "--script", "-oN"}))
    words |= st.text(max_size=20)
    near = st.tuples(st.sampled_from(known), st.integers(0, len(scan)), words)
    near_ones = near.map(lambda it: [*it[0][: it[1]], it[2], *it[0][it[1] + 1 :]])
    interface = st.text(st.sampled_from("ethbr0189.:-_/ "), max_size=17)
    good = st.tuples(st.sampled_from(known), interface)
    good_ones = good.map(lambda it: [it[1] if word == "eth0" else word for word in it[0]])
    requests = good_ones | near_ones | st.lists(words, max_size=4)
    anything = requests.map(lambda said: "".join(f"{word}\0" for word in said or [""]).encode(errors="surrogatepass"))
    anything |= st.binary(max_size=60).map(lambda said: said + b"\0")
    ran = 0

    @many
    @given(anything, st.sampled_from([3, 3, 3, 3, 0, 1, 2, 4]))
    def case(said: bytes, streams: int) -> None:
        nonlocal ran
        seen.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as connection, open(os.devnull, "r+b") as null:
            connection.connect(os.fspath(where.discovery_socket))
            socket.send_fds(connection, [said + b"\0"], [null.fileno()] * streams)
            with connection.makefile("rb") as stream:
                answer = stream.read()
        assert re.fullmatch(rb"\d+( [^\n]+)?\n", answer), answer
        if not seen.exists():
            return
        ran += 1
        name, *arguments = seen.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        assert streams >= 3
        options = [word for word in arguments if word.startswith("-")]
        values = [word for word in arguments if not word.startswith("-")]
        if name == "nmap":
            assert [word for word in options if word != "--max-rate"] == ["-e", "-sn", "-n", "-oX", "-", "-PR"]
            assert arguments[arguments.index("-oX") + 1] == "-"
            assert not set(values[-1]) - set("0123456789./")
        elif name == "ping":
            assert options in (["-c"], ["-c", "-I"])
            assert values[0] == "1"
            assert not set(values[-1]) - set("0123456789abcdefABCDEF.:")
        else:
            assert (len(values), options) == (1, [])
        assert not any("/" in word for word in values[:-1])

    case()
    assert ran > CASES / 50, "too few got through to mean anything"
