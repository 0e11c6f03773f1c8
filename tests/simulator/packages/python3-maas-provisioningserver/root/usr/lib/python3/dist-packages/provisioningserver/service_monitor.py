"""How MAAS asks its init for services: over Pebble's socket or `sudo systemctl`.

Kept exactly: the status right after an action, 1 s polls of a change for at
most 10 s, `kill` that is a stop for Pebble, one action at a time per service.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlencode

from . import processes
from .log import log, maaslog

ON, OFF, DEAD, ANY, UNKNOWN = "on", "off", "dead", "any", "unknown"
SYSTEMD = {
    "active": ON,
    "reloading": DEAD,
    "inactive": OFF,
    "failed": DEAD,
    "activating": DEAD,
    "deactivating": OFF,
}
PEBBLE = {"active": ON, "inactive": OFF, "backoff": DEAD, "error": DEAD}
PROCESS = {ON: "running", OFF: "dead", DEAD: "Result: exit-code"}
human = maaslog("service_monitor")
terse = log("provisioningserver.utils.service_monitor")


class ServiceActionError(Exception):
    """An action failed, or the service was not in the wanted state after it."""


class ServiceUnknownError(Exception):
    """The init does not know the unit."""


class ServiceParsingError(Exception):
    """What the init answered could not be read."""


def always_on() -> tuple[str, str | None]:
    return ON, None


@dataclass
class Service:
    name: str
    systemd: str
    pebble: str
    expected: Callable[[], tuple[str, str | None]] = always_on
    kill_options: tuple[str, ...] = ()


class Toggle:
    """An expected state that somebody else sets."""

    def __init__(self, state: str = OFF, reason: str | None = None) -> None:
        self.state, self.reason = state, reason

    def __call__(self) -> tuple[str, str | None]:
        return self.state, self.reason

    def set(self, state: str, reason: str | None = None) -> None:
        self.state, self.reason = state, reason


class Systemd:
    """`sudo --non-interactive systemctl`: 120 s each, three tries on a timeout."""

    def act(self, service: Service, action: str) -> str | None:
        """Do it; return the reason why it failed, or None."""
        options = service.kill_options if action == "kill" else ()
        result = self._call(action, *options, service.systemd)
        return result.stderr.decode() if result.returncode else None

    def state(self, service: Service) -> tuple[str, str]:
        output = self._call("status", service.systemd).stdout.decode()
        for line in map(str.strip, output.splitlines()):
            if line.startswith("Loaded") and line.split()[1] != "loaded":
                raise ServiceUnknownError(f"'{service.systemd}' is unknown to systemd.")
            if line.startswith("Active"):
                _, active, rest = line.split(" ", 2)
                if active not in SYSTEMD:
                    raise ServiceParsingError(f"Unable to parse the active state of '{service.systemd}': '{active}'.")
                return SYSTEMD[active], rest.lstrip("(").split(")")[0]
        raise ServiceParsingError(f"Unable to parse the output from systemd for service '{service.systemd}'.")

    @staticmethod
    def _call(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = ["sudo", "--non-interactive", "systemctl", *words]
        for _ in range(3):
            try:
                return processes.run(argv, timeout=120.0)
            except subprocess.TimeoutExpired:
                continue
        raise ServiceActionError(f"timed out three times running {' '.join(argv)}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Pebble:
    """Pebble's HTTP API, the three endpoints that MAAS uses."""

    def __init__(self) -> None:
        home = os.environ.get("PEBBLE", "")
        default = os.path.join(home, ".pebble.socket")
        self.socket = os.environ.get("PEBBLE_SOCKET", default)

    def act(self, service: Service, action: str) -> str | None:
        body: dict[str, object] = {"services": [service.pebble]}
        try:
            if action == "reload":
                answer = self._ask("POST", "/v1/signals", {"signal": "SIGHUP", **body})
            else:
                verb = "stop" if action == "kill" else action
                answer = self._ask("POST", "/v1/services", {"action": verb, **body})
            if answer.get("type") == "async":
                self._wait(answer["change"], within=10.0)
        except Exception as error:
            return str(error) or type(error).__name__
        return None

    def state(self, service: Service) -> tuple[str, str]:
        query = urlencode({"names": service.pebble})
        result = self._ask("GET", f"/v1/services?{query}").get("result")
        if not result:
            raise ServiceParsingError(f"no result for service '{service.pebble}'")
        name, current = result[0]["name"], result[0]["current"]
        if name != service.pebble or current not in PEBBLE:
            raise ServiceParsingError(f"Unable to parse the output for service '{service.name}': {name} {current}")
        state = PEBBLE[current]
        return state, PROCESS[state]

    def _wait(self, change: str, within: float) -> None:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            result = self._ask("GET", f"/v1/changes/{change}").get("result", {})
            if result.get("ready") and "status" in result:
                if result["status"] in {"Error", "Hold", "Undone"} or result.get("err"):
                    raise ValueError(f"Pebble change {change} is {result['status']}: {result.get('err')}")
                return
            time.sleep(1.0)
        raise TimeoutError(f"Pebble change {change} was not ready within {within:g} s")

    def _ask(self, method: str, path: str, payload: object = None) -> dict:
        connection = _UnixConnection(self.socket)
        try:
            body = json.dumps(payload) if payload is not None else None
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            if not 200 <= response.status <= 299:
                raise ValueError(f"Unexpected pebble response code: {response.status}")
            return json.loads(content)
        finally:
            connection.close()


class ServiceMonitor:
    """Keeps services in their expected state."""

    def __init__(self, *services: Service) -> None:
        self.services = {service.name: service for service in services}
        self.known: dict[str, str] = defaultdict(lambda: UNKNOWN)
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._init = Pebble() if "PEBBLE" in os.environ else Systemd()

    def state(self, name: str) -> tuple[str, str]:
        """Ask the init now."""
        state, process = self._init.state(self.services[name])
        self.known[name] = state
        return state, process

    def ensure_all(self) -> dict[str, str]:
        """One round over all services, all at once; returns what is known after it."""

        def one(name: str) -> None:
            try:
                self.ensure(name)
            except ServiceActionError:
                pass
            except Exception as error:
                human.error(
                    "While monitoring service '%s' an error was encountered: %s",
                    name,
                    error,
                )

        with ThreadPoolExecutor(len(self.services)) as pool:
            list(pool.map(one, self.services))
        return {name: self.known[name] for name in self.services}

    def ensure(self, name: str) -> str:
        service = self.services[name]
        expected, _ = service.expected()
        if expected == ANY:
            return UNKNOWN
        wanted = (OFF, DEAD) if expected == OFF else (ON,)
        state, process = self.state(name)
        if state in wanted:
            if process != PROCESS[state]:
                human.warning(
                    "Service '%s' is %s but not in the expected state of '%s', its current state is '%s'.",
                    service.systemd,
                    state,
                    PROCESS[state],
                    process,
                )
            return state
        action, done = ("start", "started") if expected == ON else ("stop", "stopped")
        human.info("Service '%s' is not %s, it will be %s.", service.systemd, expected, done)
        self._act(service, action)
        state, process = self.state(name)
        if state not in wanted:
            self._fail(service, action, state, process)
        human.info("Service '%s' has been %s and is '%s'.", service.systemd, done, process)
        return state

    def restart(self, name: str) -> None:
        service = self.services[name]
        if service.expected()[0] != ON:
            raise ServiceActionError(f"'{service.systemd}' is not expected to be on")
        self._act(service, "restart")
        state, process = self.state(name)
        if state != ON:
            self._fail(service, "restart", state, process)
        human.info("Service '%s' has been restarted.", service.systemd)

    def reload(self, name: str) -> None:
        service = self.services[name]
        if service.expected()[0] != ON:
            return
        if self.ensure(name) != ON:
            raise ServiceActionError(f"'{service.systemd}' could not be started to reload it")
        self._act(service, "reload")

    def kill(self, name: str) -> None:
        """The last means against a service that does not answer."""
        try:
            self._act(self.services[name], "kill")
        except ServiceActionError:
            pass
        self.ensure(name)

    def report(self) -> list[tuple[str, str, str]]:
        """(name, status, status_info) as MAAS's service list shows them."""
        rows = []
        for name, service in self.services.items():
            expected, reason = service.expected()
            state = self.known[name]
            if expected == ANY:
                rows.append((name, "unknown", "managed by the region"))
            elif expected == ON:
                status = {ON: "running", UNKNOWN: "unknown"}.get(state, "dead")
                info = "" if status != "dead" else f"{service.systemd} is currently stopped."
                rows.append((name, status, reason or info))
            else:
                rows.append((name, "off", reason or ""))
        return rows

    def _act(self, service: Service, action: str) -> None:
        with self._locks[service.name]:
            error = self._init.act(service, action)
        if error is not None:
            text = f"Service '{service.name}' failed to {action}: {error}"
            human.error(text)
            raise ServiceActionError(text)

    def _fail(self, service: Service, action: str, state: str, process: str) -> None:
        text = f"Service '{service.systemd}' failed to {action}. Its current state is '{state}' and '{process}'."
        human.error(text)
        raise ServiceActionError(text)
