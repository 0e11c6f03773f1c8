"""One life of a peer as process 1 of a process namespace of its own, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .peers import TOY, Peer, Service, environment, journal

T = TypeVar("T")

LOOK_EVERY = 0.005
"""Seconds; what is measured was noted by the services themselves, so this makes nothing less exact."""
GENEROUS = 60.0
"""Seconds for what every peer does sooner or later."""


class Never(Exception):
    """It did not happen in the time it was given."""


@dataclass(frozen=True)
class Note:
    """One line that toy.c wrote; the meaning of its numbers stands there."""

    what: str
    name: str
    at: float
    """Milliseconds of CLOCK_MONOTONIC."""
    first: int
    second: int


def now() -> float:
    """Return the milliseconds in which notes are made."""
    return time.monotonic_ns() / 1e6


def until(answer: Callable[[], T], within: float = GENEROUS) -> T:
    """Return the first true answer."""
    last = time.monotonic() + within
    while True:
        if found := answer():
            return found
        if time.monotonic() > last:
            raise Never(f"not within {within:g} s")
        time.sleep(LOOK_EVERY)


class Life:
    """A peer that runs these services; `output` takes what it prints, in place of a file."""

    def __init__(self, peer: Peer, services: Sequence[Service], output: int | None = None) -> None:
        self.peer = peer
        self.services = services
        # Short: it holds sockets, whose names may not be long.
        self.root = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
        argv = peer.lay_out(self.root, services)
        with (self.root / "output").open("wb") as file:
            self._process = subprocess.Popen(
                [
                    "unshare",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    TOY,
                    "launch",
                    journal(self.root),
                    *argv,
                ],
                env=environment(self.root),
                stdin=subprocess.DEVNULL,
                stdout=file if output is None else output,
                stderr=subprocess.STDOUT,
            )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.init = until(lambda: int(children.read_text() or 0))
        """Process 1 of the namespace, as this machine numbers it."""

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    # What it noted.

    def notes(self, what: str, name: str = "", after: float = 0.0) -> list[Note]:
        """Return the notes of this kind in the order of their times."""
        found = []
        for line in journal(self.root).read_text().splitlines() if journal(self.root).exists() else ():
            words = line.split()
            at = int(words[2]) / 1000
            if words[0] == what and name in ("", words[1]) and at > after:
                found.append(Note(what, words[1], at, int(words[3]), int(words[4])))
        return sorted(found, key=lambda note: note.at)

    def wait_for(self, what: str, name: str = "", after: float = 0.0, within: float = GENEROUS) -> Note:
        """Return the first such note."""
        return until(lambda: self.notes(what, name, after), within)[0]

    @property
    def executed(self) -> float:
        """When process 1 became the peer."""
        return self.wait_for("exec").at

    def started(self, within: float = GENEROUS) -> list[Note]:
        """Wait until every service runs; return their first notes in the order of their times."""

        def all_there() -> list[Note]:
            first: dict[str, Note] = {}
            for note in self.notes("start"):
                first.setdefault(note.name, note)
            return list(first.values()) if len(first) == len(self.services) else []

        return until(all_there, within)

    def output(self) -> list[str]:
        """Return the lines that it printed."""
        return (self.root / "output").read_text(errors="replace").splitlines()

    # Its processes, as this machine numbers them.

    def processes(self) -> Iterator[int]:
        """Yield process 1 and all its descendants."""
        left = [self.init]
        while left:
            pid = left.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    left += map(int, (task / "children").read_text().split())
                yield pid

    def supervisors(self) -> list[int]:
        """Return the processes that are not services."""
        return [pid for pid in self.processes() if _program(pid) != os.fspath(TOY)]

    def pid(self, name: str) -> int:
        """Return the process of a service that runs."""

        def found() -> int:
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                    if words[1:2] == ["service"] and words[3] == name:
                        return pid
            return 0

        return until(found)

    # Doing something to it.

    def signal(self, number: int, name: str = "") -> float:
        """Send a signal to a service, or to process 1; return when."""
        pid = self.pid(name) if name else self.init
        at = now()
        os.kill(pid, number)
        return at

    def killed(self, name: str, within: float) -> float:
        """Kill a service; return the milliseconds until its replacement's first instruction."""
        at = self.signal(signal.SIGKILL, name)
        return self.wait_for("start", name, after=at, within=within).at - at

    def stopped(self, within: float) -> tuple[float, float, int]:
        """Send TERM to process 1; return when, the milliseconds until it had ended, and its exit code."""
        # Not Popen.wait(timeout): it looks only every 50 ms.
        end = os.pidfd_open(self._process.pid)
        try:
            at = self.signal(signal.SIGTERM)
            ended, _, _ = select.select([end], [], [], within)
            took = now() - at
        finally:
            os.close(end)
        if not ended:
            raise Never(f"not within {within:g} s")
        return at, took, self._process.wait()


def _program(pid: int) -> str:
    try:
        return os.fspath(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def cpu_milliseconds(pids: Sequence[int]) -> float:
    """Return what these processes have used."""
    return sum(int(_text(file).split()[0]) for pid in pids for file in _tasks(pid, "schedstat")) / 1e6


def wake_ups(pids: Sequence[int]) -> int:
    """Return how often these processes have slept and been woken."""
    return sum(_field(file, "voluntary_ctxt_switches") for pid in pids for file in _tasks(pid, "status"))


def pss_mebibytes(pids: Sequence[int]) -> float:
    """Return the memory of these processes; what several share counts once, divided among them."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) / 1024


def _tasks(pid: int, name: str) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob(f"*/{name}"))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended
        return "0"


def _field(file: Path, key: str) -> int:
    for line in _text(file).splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0
