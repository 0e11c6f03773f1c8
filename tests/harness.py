"""A real `maas-init run` as process 1 of a process namespace of its own, with toy services that the test describes."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

from maas_init import configure, services
from maas_init.paths import Paths
from maas_init.settings import Settings
from maas_init.unixhttp import UnixConnection

T = TypeVar("T")

PROGRAMS = Path(sys.executable).parent
MAAS_INIT = PROGRAMS / "maas-init"
GENEROUS = 60.0
"""Seconds for what takes one on an idle machine."""

REQUIRED = {
    "POSTGRES_HOST": "embedded",
    "POSTGRES_PASSWORD": "secret of the database",
    "MAAS_URL": "http://192.0.2.1:5240/MAAS",
    "MAAS_ADMIN_PASSWORD": "secret of the administrator",
    "MAAS_ADMIN_EMAIL": "admin@example.com",
}

TOY = """
import os, signal, sys

name, journal, *habits = sys.argv[1:]

def note(what):
    with open(journal, "a") as stream:
        stream.write(f"{what} {name}\\n")

heard = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
note("started")
for habit in habits:
    if habit.startswith("makes="):
        os.makedirs(habit.removeprefix("makes="), exist_ok=True)
while True:
    number = signal.Signals(signal.sigwait(heard))
    note(number.name)
    if number is signal.SIGTERM and "stubborn" not in habits:
        note("ended")
        sys.exit(0)
"""


def configured(where: Paths, environ: Mapping[str, str]) -> None:
    """Write what a start with these settings writes, from the image's service files."""
    settings = Settings.from_environ(environ)
    files = Path(__file__).parent.parent / "supervisord.conf.d"
    configure.everything(settings, where, environ, services.catalogue(settings, files))


def can_connect(file: Path) -> bool:
    """Whether somebody listens at this Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(os.fspath(file)) == 0


def until(assertion: Callable[[], T], within: float = GENEROUS) -> T:
    """Return the first true answer of `assertion`, asking again while it is false or an assertion in it fails."""
    last = time.monotonic() + within
    while True:
        try:
            answer = assertion()
            if answer:
                return answer
            failure: AssertionError | None = None
        except AssertionError as error:
            failure = error
        if time.monotonic() >= last:
            raise AssertionError(f"it did not happen within {within:g} s") from failure
        time.sleep(0.02)


def status_facts(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a mapping; empty when the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@dataclass(frozen=True)
class Process:
    """One process of the container, as the machine's /proc shows it."""

    pid: int
    parent: int
    state: str
    pid_inside: int
    argv: tuple[str, ...]


class Container:
    """One life of `maas-init run` below a temporary root; `service` and `add` come before `start`."""

    def __init__(self) -> None:
        # Not pytest's directory: its name is too long for a socket.
        self.root = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
        self.root.chmod(0o755)
        self.paths = Paths(self.root)
        self.services = self.root / "services"
        self.answers = self.root / "answers"
        self.journal_file = self.root / "journal"
        for directory in (self.services, self.answers):
            directory.mkdir()
        (self.root / "toy.py").write_text(TOY)
        self.lines: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.add(
            "health",
            f"""\
            [eventlistener:health]
            command = {MAAS_INIT} listen
            events = PROCESS_STATE,SUPERVISOR_STATE_CHANGE,REMOTE_COMMUNICATION
            buffer_size = 1000
            priority = 1
            startsecs = 0
            stopwaitsecs = 2
            stderr_logfile = /dev/stderr
            stderr_logfile_maxbytes = 0

            [check:volumes]
            check = writable {self.root}
            critical = yes
            """,
        )

    # Describing it.

    def add(self, name: str, text: str) -> None:
        """Add a service file as it is."""
        (self.services / f"{name}.conf").write_text(dedent(text))

    def service(
        self,
        name: str,
        *habits: str,
        command: str = "",
        probed: bool = False,
        program: Mapping[str, str] | None = None,
        **keys: str,
    ) -> None:
        """Add a toy that notes what happens to it; one that is `probed` is ready while `answer` lets it be."""
        toy = " ".join([f"{sys.executable} -S -E {self.root}/toy.py {name} {self.journal_file}", *habits])
        lines = {"command": command or toy, "autostart": "false", "autorestart": "true", "startsecs": "0"}
        lines |= {"stdout_logfile": "/dev/stdout", "stdout_logfile_maxbytes": "0", "redirect_stderr": "true"}
        lines |= program or {}
        if probed:
            keys = {"check": f"writable {self.answers / name}", "check_every": "0.1", "check_threshold": "2"} | keys
        sections = {f"program:{name}": lines, f"service:{name}": keys}
        self.add(
            name,
            "\n".join(
                f"[{title}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
                for title, section in sections.items()
            ),
        )

    def answer(self, name: str, yes: bool = True) -> None:
        """Let a probed service answer, or not."""
        quiet, loud = self.answers / f"{name}.quiet", self.answers / name
        if yes and quiet.exists():
            quiet.rename(loud)
        elif yes:
            loud.mkdir()
        else:
            loud.rename(quiet)

    # Its life.

    def start(self, environ: Mapping[str, str] | None = None, *argv: str, under: Sequence[str] = ()) -> Container:
        """Run `maas-init run`, or `maas-init` with `argv`, with REQUIRED and `environ`.

        `under` is the command of another process 1 that runs it.
        """
        self._process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *under, MAAS_INIT, *(argv or ("run",))],
            env={"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(self.root), "MAAS_INIT_SERVICES": str(self.services)}
            | REQUIRED
            | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait(self, within: float = GENEROUS) -> int:
        """Wait for the end; return the exit code when everything was printed."""
        assert self._process is not None
        code = self._process.wait(within)
        self._reader.join(within)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def stop(self) -> int:
        """Do what `docker stop` does; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Remove every trace; print what the container said for pytest to show when a test failed."""
        if self._process is not None:
            self._process.kill()
            self.wait()
        print(self.output)
        shutil.rmtree(self.root)

    @property
    def running(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    # Its processes, by the machine's process ids.

    @property
    def init(self) -> int:
        """Process 1 of the container."""
        assert self._process is not None
        unshare = self._process.pid
        children = Path(f"/proc/{unshare}/task/{unshare}/children")
        return until(lambda: int(children.read_text() or 0))

    def processes(self) -> list[Process]:
        """Return every process of the container but the first."""
        everything: dict[int, list[Process]] = {}
        for directory in Path("/proc").glob("[0-9]*"):
            pid = int(directory.name)
            facts = status_facts(pid)
            try:
                argv = tuple((directory / "cmdline").read_text(errors="replace").rstrip("\0").split("\0"))
            except OSError:
                continue
            if facts:
                found = Process(pid, int(facts["PPid"]), facts["State"][0], int(facts["NSpid"].split()[-1]), argv)
                everything.setdefault(found.parent, []).append(found)
        descendants, parents = [], [self.init]
        while parents:
            children = everything.get(parents.pop(), [])
            descendants += children
            parents += [child.pid for child in children]
        return descendants

    def signal(self, number: int, name: str = "") -> None:
        """Send a signal to process 1, or to the process of `name` (see `pid`)."""
        os.kill(until(lambda: self.pid(name)) if name else self.init, number)

    def kill(self, name: str) -> None:
        """Kill a service and wait until the container has another process in its place."""
        restarts, pid = self.of(name)["restarts"], self.pid(name)
        self.signal(signal.SIGKILL, name)
        until(lambda: self.of(name)["restarts"] > restarts)
        until(lambda: self.pid(name) not in (0, pid) and self.is_(name, "ready"))

    def pid(self, name: str) -> int:
        """Return the process id of a running service, of `health` (the listener) or of `supervisord`."""
        if name == "supervisord":
            return next(each.pid for each in self.processes() if any("supervisord.conf" in word for word in each.argv))
        if name == "health":
            inside: object = int(self.paths.listener_pid.read_text())
        else:
            inside = self.of(name)["pid"]
        return next((each.pid for each in self.processes() if each.pid_inside == inside), 0)

    # What it says.

    def status(self) -> dict[str, Any]:
        """Return the status file; empty before it is there."""
        try:
            found: dict[str, Any] = json.loads(self.paths.status.read_text())
        except FileNotFoundError:
            return {"level": "", "summary": "", "services": {}}
        return found

    def of(self, name: str) -> dict[str, Any]:
        """Return what the status file says of one service."""
        found: dict[str, Any] = self.status()["services"].get(name, {"level": "", "why": "", "pid": None})
        return found

    def is_(self, name: str, level: str) -> bool:
        """Whether a service is at this level; says why not."""
        assert self.of(name)["level"] == level, f"{name} is not {level}: {self.of(name)}"
        return True

    def all_(self, level: str) -> bool:
        """Whether the container is at this level; says why not."""
        status = self.status()
        assert status["level"] == level, f"it is not {level} but {status['level']}: {status['summary']}"
        return True

    def journal(self) -> list[str]:
        """Return what the toys noted: `started NAME`, `SIGTERM NAME`, `ended NAME`."""
        return self.journal_file.read_text().splitlines() if self.journal_file.exists() else []

    # Asking it.

    def verb(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of `maas-init` as somebody who looks into the container."""
        environ = {"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(self.root)}
        return subprocess.run([MAAS_INIT, *argv], env=environ, capture_output=True, text=True, check=False)

    def supervisorctl(self, *argv: str) -> str:
        """Return what supervisorctl prints."""
        command = [str(PROGRAMS / "supervisorctl"), "-c", str(self.paths.supervisord_conf), *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command among the container's processes, as `docker exec` does."""
        command = ["nsenter", f"--target={self.init}", "--pid", "--mount", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def beside(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command among the container's processes, to be talked with."""
        command = ["nsenter", f"--target={self.init}", "--pid", "--mount", *argv]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, method: str, path: str, payload: object = None) -> tuple[int, dict[str, Any]]:
        """Send one request over the Pebble socket; return the HTTP status and the JSON of the answer."""
        return ask(self.paths.pebble_socket, method, path, None if payload is None else json.dumps(payload).encode())

    def change(self, action: str, *names: str) -> dict[str, Any]:
        """Ask for a change over the Pebble socket, wait for it as MAAS does, and return it."""
        status, answer = self.ask("POST", "/v1/services", {"action": action, "services": list(names)})
        assert (status, answer["type"]) == (202, "async"), answer

        def ready() -> dict[str, Any]:
            change: dict[str, Any] = self.ask("GET", f"/v1/changes/{answer['change']}")[1]["result"]
            return change if change["ready"] else {}

        return until(ready)


def ask(sock: Path, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Send one HTTP request to a Unix socket; return the status and the JSON of the answer."""
    connection = UnixConnection(sock, timeout=GENEROUS)

    def connected() -> bool:
        try:
            connection.connect()
        except BlockingIOError:  # the queue before the door is full
            connection.close()
            return False
        return True

    try:
        until(connected)
        connection.request(method, path, body=body)
        answer: http.client.HTTPResponse = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
    finally:
        connection.close()
    return answer.status, found
