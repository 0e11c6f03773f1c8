"""Runs inside the container as /tmp/regiond, so that its words on the Pebble socket are MAAS's.

MAAS, on the Pebble socket and with systemctl, and an operator with supervisorctl's words ask for the same service at
once, 200 times; after each time one of them asks once more, and that must come true. Now and then they do so in the
moment in which the health listener restarts it, because it does not answer.
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

SERVICE, ROUNDS, PATIENCE = "apiserver", 200, 180.0
RUN = Path("/run/maas-init")
dice = random.Random(5240)


def maas(action: str) -> str:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(RUN / ".pebble.socket"))
    connection.request("POST", "/v1/services", json.dumps({"action": action, "services": [SERVICE]}))
    assert connection.getresponse().status == 202
    connection.close()
    return "MAAS"


def supervisorctl(action: str) -> str:
    with xmlrpc.client.ServerProxy(
        "http://localhost", SupervisorTransport(None, None, f"unix://{RUN}/supervisor.sock")
    ) as proxy:
        try:
            getattr(proxy.supervisor, f"{action}Process")(SERVICE, False)
        except xmlrpc.client.Fault as fault:
            assert fault.faultCode in (60, 70), fault.faultString  # it was so already
    return "operator"


def systemctl(action: str) -> str:
    subprocess.run(["systemctl", "--no-block", action, f"maas-{SERVICE}"], check=True)
    return "MAAS"  # what its daemons run speaks for it


def state() -> Any:
    return json.loads((RUN / "status.json").read_text())["services"][SERVICE]


def until_health_acts() -> None:
    """Let the service hang, and wait until the listener does something about it."""
    come_true(True, maas("start"))
    last = time.monotonic() + PATIENCE
    while state()["level"] != "ready":
        assert time.monotonic() < last, state()
        time.sleep(0.01)
    os.kill(state()["pid"], signal.SIGSTOP)
    while state()["failed"] == 0:
        assert time.monotonic() < last, state()
        time.sleep(0.002)


def come_true(on: bool, owner: str) -> None:
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        found = state()
        runs = found["process"] in ("STARTING", "RUNNING")
        if (found["desired"]["on"], found["desired"]["owner"], runs) == (on, owner, on):
            return
        time.sleep(0.01)
    sys.exit(f"{owner} asked for on={on} last, and it is {found}")


with ThreadPoolExecutor(4) as pool:
    for number in range(ROUNDS):
        if number % 50 == 0:
            until_health_acts()
        # systemctl takes its time to start: now and then is enough.
        ways = [maas, supervisorctl, systemctl if number % 10 == 0 else maas]
        wait([pool.submit(way, dice.choice(["start", "stop"])) for way in ways])
        action = "start" if number == ROUNDS - 1 else dice.choice(["start", "stop"])
        come_true(action == "start", dice.choice(ways)(action))
print(f"{ROUNDS} rounds")
