"""Who wants what of a service: MAAS, an operator and the health listener at once, on a real supervisord.

The operator says it to supervisord itself, as supervisorctl does, or over the Pebble socket, as systemctl does.
"""

from __future__ import annotations

import random
import re
import signal
import sys
import threading
import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from harness import Container, until
from supervisor.xmlrpc import SupervisorTransport

pytestmark = pytest.mark.process

ROUNDS = 200

# MAAS's daemons are known by their command line: this one does what it is told, a line for each request.
REGIOND = """
import http.client, json, socket, sys
for line in sys.stdin:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    action, service = line.split()
    connection.request("POST", "/v1/services", json.dumps({"action": action, "services": [service]}))
    print(connection.getresponse().status, flush=True)
"""


@pytest.fixture
def box() -> Iterator[Container]:
    container = Container()
    container.service("contested", probed=True, check_threshold="1", on_check_failure="restart")
    container.service("stubborn", "stubborn", program={"stopwaitsecs": "1"})
    container.service("broken", start="request", command=f"{container.root}/daemon")
    container.answer("contested")
    container.start()
    try:
        until(lambda: container.all_("healthy"))
        yield container
    finally:
        container.close()


class Parties:
    """Those who ask; each answers when what was asked has been taken, not when it is done."""

    def __init__(self, box: Container) -> None:
        self._box = box
        script = box.root / "sbin" / "regiond"
        script.parent.mkdir()
        script.write_text(REGIOND)
        self._regiond = box.beside(sys.executable, "-S", str(script), str(box.paths.pebble_socket))
        self._lock = threading.Lock()

    def maas(self, action: str, service: str = "contested") -> str:
        assert self._regiond.stdin and self._regiond.stdout
        with self._lock:
            self._regiond.stdin.write(f"{action} {service}\n")
            self._regiond.stdin.flush()
            assert self._regiond.stdout.readline() == "202\n"
        return "MAAS"

    def supervisorctl(self, action: str) -> str:
        """Say what supervisorctl says, without the time that it takes to start."""
        sock = SupervisorTransport(None, None, f"unix://{self._box.paths.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://localhost", sock) as proxy:
            try:
                getattr(proxy.supervisor, f"{action}Process")("contested", False)
            except xmlrpc.client.Fault as fault:
                assert re.match("ALREADY_STARTED|NOT_RUNNING", fault.faultString), fault.faultString
        return "operator"

    def systemctl(self, action: str) -> str:
        assert self._box.ask("POST", "/v1/services", {"action": action, "services": ["contested"]})[0] == 202
        return "operator"

    def close(self) -> None:
        self._regiond.communicate()


def as_wished(box: Container, on: bool, owner: str) -> bool:
    """Whether the service is as somebody wanted it last; says why not."""
    found = box.of("contested")
    assert (found["desired"]["on"], found["desired"]["owner"]) == (on, owner), found
    assert found["process"] == ("RUNNING" if on else "STOPPED"), found
    return True


def test_three_parties_at_once_end_in_the_state_that_was_asked_for_last(box: Container) -> None:
    dice = random.Random(5240)
    parties = Parties(box)
    asked: set[tuple[bool, str]] = set()
    try:
        with ThreadPoolExecutor(8) as pool:
            for number in range(ROUNDS):
                ways: list[Callable[[str], str]] = [parties.maas, parties.supervisorctl, parties.systemctl]
                dice.shuffle(ways)
                ill = number % 25 == 0
                if ill:
                    parties.systemctl("start")
                    until(lambda: box.is_("contested", "ready"))
                    restarted = box.output.count("service.restarted")
                    box.answer("contested", False)
                    until(lambda n=restarted: box.output.count("service.restarted") > n)  # type: ignore[misc]
                wait([pool.submit(way, dice.choice(["start", "stop", "start"])) for way in ways * 2])
                last = dice.choice(["start", "stop"])
                owner = ways[0](last)
                if ill:
                    box.answer("contested")
                asked.add((last == "start", owner))
                until(lambda last=last, owner=owner: as_wished(box, last == "start", owner))  # type: ignore[misc]
    finally:
        parties.close()
    assert len(asked) == 4
    for on, owner in asked:
        assert re.search(rf"service\.wanted service=contested on={on} owner={owner} ", box.output)
    assert "listener.failed" not in box.output


def test_operator_s_stop_in_the_middle_of_a_restart_is_not_lost(box: Container) -> None:
    _, answer = box.ask("POST", "/v1/services", {"action": "restart", "services": ["stubborn"]})
    until(lambda: box.of("stubborn")["process"] == "STOPPING")
    box.supervisorctl("stop", "stubborn")
    until(lambda: box.is_("stubborn", "off") and box.of("stubborn")["process"] == "STOPPED")
    change = until(lambda: box.ask("GET", f"/v1/changes/{answer['change']}/wait?timeout=30s")[1]["result"])
    assert "operator wants it off (stopped with supervisorctl)" in change["err"]
    assert box.of("stubborn")["restarts"] == 0, "nothing revived it meanwhile"


def test_failed_service_is_tried_at_once_when_it_is_asked_for_anew(box: Container) -> None:
    box.change("start", "broken")
    until(lambda: box.of("broken")["failed"] >= 3)  # the next try is 4 s away
    assert box.change("start", "broken")["status"] == "Error"
    failures = re.compile(r"service\.failed service=broken .*times=1\b")
    until(lambda: len(failures.findall(box.output)) == 2)  # it counts from one again


def test_what_maas_asks_for_again_and_again_is_tried_each_time_and_given_up_all_the_same(box: Container) -> None:
    """Its monitor does so every 30 s for what it finds down."""
    parties = Parties(box)
    failed = re.compile(r"service\.failed service=broken .*times=(\d+)\b")
    try:
        for times in range(1, 11):
            parties.maas("start", "broken")
            until(lambda times=times: len(failed.findall(box.output)) >= times)  # type: ignore[misc]
    finally:
        parties.close()
    assert [int(number) for number in failed.findall(box.output)][:10] == [*range(1, 11)]
    until(lambda: "service.gave_up service=broken" in box.output)
    box.change("start", "broken")
    until(lambda: "1" in failed.findall(box.output)[10:])  # an operator's wish is taken as a new one


def test_operator_s_stop_of_what_waits_for_its_next_try_ends_the_trying(box: Container) -> None:
    box.change("start", "broken")
    until(lambda: box.of("broken")["failed"] > 0)
    box.supervisorctl("stop", "broken")
    until(lambda: box.is_("broken", "off"))
    assert box.of("broken")["desired"]["owner"] == "operator"


def test_operator_s_stop_is_heard_although_the_listener_was_dead(box: Container) -> None:
    listener = box.pid("health")
    box.signal(signal.SIGSTOP, "health")
    box.supervisorctl("stop", "contested")
    box.signal(signal.SIGKILL, "health")
    until(lambda: box.pid("health") not in (0, listener))
    until(lambda: as_wished(box, False, "operator"))
    box.supervisorctl("start", "contested")
    until(lambda: as_wished(box, True, "operator"))


def test_later_wish_of_maas_beats_an_operator_s_that_is_heard_of_after_it(box: Container) -> None:
    box.signal(signal.SIGSTOP, "health")
    box.supervisorctl("stop", "contested")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(box.change, "start", "contested")
        box.signal(signal.SIGCONT, "health")
        assert asking.result()["status"] == "Done"
    until(lambda: box.is_("contested", "ready"))
    assert "asked over the Pebble API" in box.of("contested")["desired"]["reason"]


def test_supervisorctl_restart_leaves_it_running(box: Container) -> None:
    before = box.of("contested")["pid"]
    box.supervisorctl("restart", "contested")
    until(lambda: as_wished(box, True, "operator"))
    until(lambda: box.of("contested")["pid"] not in (None, before))
