"""Canonical Pebble's API as MAAS and people use it, on the real socket of a real container with toy services."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from harness import GENEROUS, Container, ask, until

pytestmark = pytest.mark.process

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    box = Container()
    box.service("bind9", critical="yes")
    box.service("http", critical="yes")
    box.service("rackd", critical="yes")
    box.service("agent", start="request", binds_to="rackd")
    box.service("dhcpd", start="request", binds_to="rackd", condition_path_exists="/var/lib/maas/dhcpd.conf")
    box.service("proxy", condition_path_exists="/var/lib/maas/maas-proxy.conf")
    box.service("stubborn", "stubborn", start="request", program={"stopwaitsecs": "1"})
    broken = {"command": "/bin/false", "startsecs": "1", "startretries": "0", "autorestart": "false"}
    box.service("broken", start="request", program=broken)
    box.service("absent", start="request", command="/nonexistent/daemon")
    box.service("once", start="request", type="oneshot", program={"command": "/bin/true", "autorestart": "false"})
    box.start()
    try:
        until(lambda: box.all_("healthy"))
        yield box
    finally:
        box.close()


@pytest.fixture
def works(shared: Container) -> Iterator[Container]:
    """The container; afterwards its API must still answer and the same listener run."""
    for name in ("bind9", "http"):
        notes_of(shared, name)
    listener = shared.pid("health")
    yield shared
    assert current(shared, "bind9") == "active"
    assert shared.pid("health") == listener


def current(container: Container, name: str) -> str:
    """Return what MAAS learns when it asks for a service."""
    status, answer = container.ask("GET", f"/v1/services?names={name}")
    assert status == 200
    assert [each["name"] for each in answer["result"]] == [name]
    return str(answer["result"][0]["current"])


def notes_of(container: Container, name: str) -> list[str]:
    """Return what a toy noted, once it is ready to note what comes."""

    def settled() -> list[str]:
        notes = [line.split()[0] for line in container.journal() if line.split()[1] == name]
        assert notes.count("started") >= container.of(name)["restarts"] + 1, notes
        return notes

    return until(settled)


def refused(answer: tuple[int, dict[str, object]], status: int) -> str:
    """Check that an answer is an error in Pebble's form; return its message."""
    code, body = answer
    assert (code, body["type"], body["status-code"]) == (status, "error", status), body
    result = body["result"]
    assert isinstance(result, dict)
    assert result["message"]
    return str(result["message"])


# Looking.


def test_every_service_is_listed(works: Container) -> None:
    status, answer = works.ask("GET", "/v1/services")
    assert (status, answer["type"], answer["status-code"], answer["status"]) == (200, "sync", 200, "OK")
    names = [service["name"] for service in answer["result"]]
    assert names == sorted(names)
    assert set(names) == works.status()["services"].keys() - {"volumes"}, "what is only watched is no service"
    for service in answer["result"]:
        assert service["startup"] in ("enabled", "disabled")
        assert service["current"] in ("active", "inactive", "backoff", "error")
        assert TIME.fullmatch(service["current-since"])


def test_services_are_chosen_by_name(works: Container) -> None:
    _, answer = works.ask("GET", "/v1/services?names=http,bind9,nonsense")
    assert [service["name"] for service in answer["result"]] == ["bind9", "http"]
    assert answer["result"][0]["startup"] == "enabled"
    _, answer = works.ask("GET", "/v1/services?names=nonsense")
    assert answer["result"] == []


def test_version_is_told(works: Container) -> None:
    status, answer = works.ask("GET", "/v1/system-info")
    assert status == 200
    assert answer["result"]["version"].startswith("maas-init ")


# Asking for changes.


def test_service_on_request_stays_off_until_it_is_asked_for(works: Container) -> None:
    assert current(works, "agent") == "inactive"
    assert works.is_("agent", "off")
    assert "started agent" not in works.journal()
    assert works.change("start", "agent")["status"] == "Done"
    assert current(works, "agent") == "active", "MAAS looks right after the change is done"
    until(lambda: works.is_("agent", "ready"))
    assert "asked over the Pebble API" in works.verb("why", "agent").stdout
    assert works.change("stop", "agent")["status"] == "Done"
    assert current(works, "agent") == "inactive"


def test_change_tells_what_it_was(works: Container) -> None:
    change = works.change("start", "http", "bind9")
    assert (change["kind"], change["summary"], change["status"], change["ready"]) == (
        "start",
        "Start http, bind9",
        "Done",
        True,
    )
    assert TIME.fullmatch(change["spawn-time"])
    assert TIME.fullmatch(change["ready-time"])
    assert "err" not in change


def test_changes_have_ids_of_their_own(works: Container) -> None:
    assert works.change("start", "http")["id"] != works.change("start", "http")["id"]


def test_change_can_be_waited_for(works: Container) -> None:
    _, answer = works.ask("POST", "/v1/services", {"action": "restart", "services": ["http"]})
    status, waited = works.ask("GET", f"/v1/changes/{answer['change']}/wait?timeout=60s")
    assert (status, waited["result"]["ready"], waited["result"]["status"]) == (200, True, "Done")


def test_waiting_for_a_change_ends_at_its_timeout(works: Container) -> None:
    assert works.change("start", "stubborn")["status"] == "Done"
    until(lambda: notes_of(works, "stubborn")[-1:] == ["started"])  # before, it is not stubborn yet
    _, answer = works.ask("POST", "/v1/services", {"action": "stop", "services": ["stubborn"]})
    message = refused(works.ask("GET", f"/v1/changes/{answer['change']}/wait?timeout=10ms"), 504)
    assert "timed out" in message
    _, unfinished = works.ask("GET", f"/v1/changes/{answer['change']}")
    assert unfinished["result"]["status"] in ("Doing", "Done")
    _, waited = works.ask("GET", f"/v1/changes/{answer['change']}/wait")
    assert waited["result"]["status"] == "Done"
    assert current(works, "stubborn") == "inactive"


def test_restart_gives_a_new_process_and_asks_the_old_one_to_end(works: Container) -> None:
    before, notes = works.pid("http"), len(notes_of(works, "http"))
    assert works.change("restart", "http")["status"] == "Done"
    assert current(works, "http") == "active"
    until(lambda: works.pid("http") not in (0, before))
    until(lambda: notes_of(works, "http")[notes:] == ["SIGTERM", "ended", "started"])


def test_restart_starts_what_did_not_run(works: Container) -> None:
    assert works.change("stop", "http")["status"] == "Done"
    assert works.change("restart", "http")["status"] == "Done"
    assert current(works, "http") == "active"


def test_start_of_what_runs_changes_nothing(works: Container) -> None:
    before = works.pid("http")
    assert works.change("start", "http")["status"] == "Done"
    assert works.pid("http") == before


def test_stopped_service_is_not_revived(works: Container) -> None:
    assert works.change("stop", "http")["status"] == "Done"
    until(lambda: works.is_("http", "off"))
    works.kill("bind9")  # everything is looked at again
    assert current(works, "http") == "inactive"
    assert works.of("http")["desired"]["on"] is False
    assert works.change("start", "http")["status"] == "Done"
    until(lambda: works.all_("healthy"))


def test_several_restarts_at_once_end_with_the_service_running(works: Container) -> None:
    """MAAS asks for several within seconds when it writes a DHCP configuration."""
    with ThreadPoolExecutor(8) as pool:
        changes = list(pool.map(lambda _: works.change("restart", "http"), range(8)))
    assert [change["status"] for change in changes] == ["Done"] * 8
    assert current(works, "http") == "active"


def test_words_of_maas_and_of_people_are_told_apart(works: Container) -> None:
    # MAAS's daemons are known by their command line.
    daemon = works.root / "sbin" / "regiond"
    daemon.parent.mkdir(exist_ok=True)
    daemon.write_text(
        "import http.client, json, socket, sys\n"
        "connection = http.client.HTTPConnection('localhost')\n"
        "connection.sock = socket.socket(socket.AF_UNIX)\n"
        "connection.sock.connect(sys.argv[1])\n"
        "connection.request('POST', '/v1/services', json.dumps({'action': 'stop', 'services': ['agent']}))\n"
        "print(connection.getresponse().status)\n"
    )
    assert works.change("start", "agent")["status"] == "Done"
    until(lambda: works.of("agent")["desired"]["owner"] == "operator")
    done = works.inside(sys.executable, "-S", str(daemon), str(works.paths.pebble_socket))
    assert done.stdout == "202\n", done.stderr
    until(lambda: works.of("agent")["desired"]["owner"] == "MAAS")
    until(lambda: works.is_("agent", "off"))
    assert works.of("agent")["desired"]["owner"] == "MAAS", "how it ended does not make it the operator's wish"


def test_start_that_fails_is_an_error_with_the_reason(works: Container) -> None:
    change = works.change("start", "broken")
    assert change["status"] == "Error"
    assert "cannot start broken: " in change["err"]
    assert "right after its start" in change["err"]
    until(lambda: current(works, "broken") in ("error", "backoff", "active"))  # it is tried again all the time
    assert works.change("stop", "broken")["status"] == "Done"


def test_start_of_a_program_that_does_not_exist_is_an_error_that_names_it(works: Container) -> None:
    change = works.change("start", "absent")
    assert works.change("stop", "absent")["status"] == "Done"
    assert change["status"] == "Error"
    assert "/nonexistent/daemon" in change["err"]
    assert "within" not in change["err"], "it is told at once, not when patience ends: MAAS's ends after 10 s"


def test_start_of_a_one_shot_is_done_when_it_ended_well(works: Container) -> None:
    assert works.change("start", "once")["status"] == "Done"
    until(lambda: works.is_("once", "ready"))


def test_service_waits_for_its_configuration(works: Container) -> None:
    assert works.is_("proxy", "off")
    assert "maas-proxy.conf does not exist yet" in works.of("proxy")["why"]
    until(lambda: works.all_("healthy"))  # what cannot run yet is not missing
    change = works.change("start", "proxy")
    assert change["status"] == "Error"
    assert "maas-proxy.conf does not exist yet" in change["err"]
    (works.paths.maas_data / "maas-proxy.conf").touch()
    until(lambda: works.is_("proxy", "ready"))
    assert current(works, "proxy") == "active"


def test_bound_service_stops_with_what_it_is_bound_to_and_waits_to_be_asked_again(works: Container) -> None:
    conf = works.paths.maas_data / "dhcpd.conf"
    conf.touch()
    assert works.change("start", "dhcpd")["status"] == "Done"
    until(lambda: works.is_("dhcpd", "ready"))
    assert works.change("stop", "rackd")["status"] == "Done"
    until(lambda: works.is_("dhcpd", "off"))
    assert "it stops with rackd" in works.of("dhcpd")["why"]
    assert works.change("start", "rackd")["status"] == "Done"
    until(lambda: works.is_("rackd", "ready"))
    assert works.is_("dhcpd", "off")
    assert current(works, "dhcpd") == "inactive"
    assert works.change("start", "dhcpd")["status"] == "Done"
    assert current(works, "dhcpd") == "active"


# Signals.


def test_signal_reaches_the_service_and_only_it(works: Container) -> None:
    before, notes = works.pid("bind9"), len(notes_of(works, "bind9"))
    status, answer = works.ask("POST", "/v1/signals", {"signal": "SIGHUP", "services": ["bind9"]})
    assert (status, answer["type"]) == (200, "sync")
    until(lambda: notes_of(works, "bind9")[notes:] == ["SIGHUP"])
    assert works.pid("bind9") == before
    assert [line for line in works.journal() if line.startswith("SIGHUP")] == ["SIGHUP bind9"]


def test_signal_to_a_stopped_service_is_refused(works: Container) -> None:
    assert current(works, "stubborn") == "inactive"
    message = refused(works.ask("POST", "/v1/signals", {"signal": "SIGHUP", "services": ["stubborn"]}), 400)
    assert "stubborn" in message


@pytest.mark.parametrize("name", ["SIGNONSENSE", "", 1, None, "hup"])
def test_unknown_signal_is_refused(works: Container, name: object) -> None:
    refused(works.ask("POST", "/v1/signals", {"signal": name, "services": ["bind9"]}), 400)


# Nonsense.


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
@pytest.mark.parametrize("name", ["nonsense", "volumes", "health", "", "bind9\n", "../bind9"])
def test_unknown_service_is_refused(works: Container, action: str, name: str) -> None:
    message = refused(works.ask("POST", "/v1/services", {"action": action, "services": ["bind9", name]}), 400)
    assert "does not exist" in message
    assert current(works, "bind9") == "active", "nothing is done when one name is unknown"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"action": "explode", "services": ["bind9"]},
        {"action": ["stop"], "services": ["bind9"]},
        {"action": "stop"},
        {"action": "stop", "services": []},
        {"action": "stop", "services": "bind9"},
        {"action": "stop", "services": {"bind9": 1}},
        {"action": "stop", "services": [1]},
        {"action": "stop", "services": [["bind9"]]},
        [],
        "stop",
        7,
    ],
)
def test_request_that_makes_no_sense_is_refused(works: Container, payload: object) -> None:
    refused(works.ask("POST", "/v1/services", payload), 400)
    assert current(works, "bind9") == "active"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff\xfe\x00", b'{"action": "stop", "services": ["bind9"', b"[" * 100_000]
)
def test_malformed_json_is_refused(works: Container, body: bytes) -> None:
    assert "JSON" in refused(ask(works.paths.pebble_socket, "POST", "/v1/services", body), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/nonsense"),
        ("GET", "/v2/services"),
        ("GET", "/v1/services/bind9"),
        ("POST", "/v1/system-info"),
        ("GET", "/v1/changes/0"),
        ("GET", "/v1/changes/1/nonsense"),
        ("GET", "/v1/changes/%00"),
        ("POST", "/v1/nonsense"),
    ],
)
def test_unknown_path_is_not_found(works: Container, method: str, path: str) -> None:
    refused(works.ask(method, path, {} if method == "POST" else None), 404)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "NONSENSE"])
def test_other_method_is_not_allowed(works: Container, method: str) -> None:
    refused(works.ask(method, "/v1/services"), 405)


# Clients from hell.


def connect(container: Container) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(container.paths.pebble_socket))  # it waits its turn, which a time-out would not let it do
    stream.settimeout(GENEROUS)
    return stream


def everything(stream: socket.socket) -> bytes:
    """Return what the server says until it closes the connection."""
    found = b""
    with suppress(ConnectionResetError):  # it closed without reading all we sent
        while chunk := stream.recv(65536):
            found += chunk
    return found


def test_huge_body_is_refused(works: Container) -> None:
    with closing(connect(works)) as stream:
        stream.sendall(b"POST /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it was sent
            stream.sendall(b" " * 8_000_000)
        answer = everything(stream)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""
    if answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 1000,
        b"\xff\xfe\xfd\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/services HTTP/nonsense\r\nHost: localhost\r\n\r\n",
        b"GET /v1/services HTTP/1.1\r\n\r\n",
        b"GET /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"GET /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda garbage: repr(garbage[:30]),
)
def test_garbage_gets_an_error_and_does_no_harm(works: Container, garbage: bytes) -> None:
    with closing(connect(works)) as stream:
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(garbage)
            stream.shutdown(socket.SHUT_WR)
        answer = everything(stream)
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert json.loads(body)["type"] == "error"


@pytest.mark.parametrize(
    "part", [b"", b"GET", b"GET /v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]
)
def test_client_that_goes_in_the_middle_does_no_harm(works: Container, part: bytes) -> None:
    with closing(connect(works)) as stream:
        stream.sendall(part)


def test_client_that_does_not_wait_for_its_answer_does_no_harm(works: Container) -> None:
    for _ in range(20):
        with closing(connect(works)) as stream:
            stream.sendall(b"GET /v1/services HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_slow_client_is_served_and_keeps_nobody_waiting(works: Container) -> None:
    request = b"GET /v1/services?names=bind9 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with closing(connect(works)) as slow:
        for position in range(0, len(request), 7):
            slow.sendall(request[position : position + 7])
            assert current(works, "bind9") == "active"
        assert everything(slow).startswith(b"HTTP/1.1 200 ")


def test_one_connection_serves_several_requests(works: Container) -> None:
    request = b"GET /v1/system-info HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with closing(connect(works)) as stream:
        stream.sendall(request + request + last)
        assert everything(stream).count(b"HTTP/1.1 200 ") == 3


def test_connection_survives_a_refusal(works: Container) -> None:
    with closing(connect(works)) as stream:
        stream.sendall(b"GET /nonsense HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream.sendall(b"GET /v1/system-info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = everything(stream)
    assert (answer.count(b"HTTP/1.1 404 "), answer.count(b"HTTP/1.1 200 ")) == (1, 1)


def test_many_clients_at_once_are_served(works: Container) -> None:
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: current(works, "bind9"), range(500)))
    assert answers == ["active"] * 500


def test_many_idle_clients_keep_nobody_waiting(works: Container) -> None:
    with ExitStack() as idle:
        for _ in range(200):
            idle.enter_context(closing(connect(works)))
        assert current(works, "bind9") == "active"


def test_wishes_are_not_lost_while_supervisord_has_much_to_say(container: Container) -> None:
    """What was asked over the socket is never taken for what an operator did with supervisorctl."""
    container.service("flapping", command="/bin/sleep 0.01")
    container.service("steady", critical="yes")
    container.start()
    until(lambda: container.is_("steady", "ready"))
    for _ in range(20):
        for action, expected in (("stop", "inactive"), ("start", "active"), ("restart", "active")):
            change = container.change(action, "steady")
            assert (change["status"], current(container, "steady")) == ("Done", expected), change
    assert "supervisorctl" not in container.verb("why", "steady").stdout


def test_socket_is_only_for_this_user(works: Container) -> None:
    assert works.paths.pebble_socket.stat().st_mode & 0o077 == 0


def test_socket_is_back_when_the_listener_was_killed(shared: Container) -> None:
    before = shared.pid("health")
    shared.signal(signal.SIGKILL, "health")
    until(lambda: shared.pid("health") not in (0, before))
    until(lambda: shared.ask("GET", "/v1/system-info")[0] == 200)
