"""Reading what services printed: each one's file in /var/log/maas, which supervisord keeps and rotates."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from . import loglines
from .loglines import Record
from .paths import Paths

BLOCK = 65536


def names(where: Paths) -> tuple[str, ...]:
    """Return the services that have a file."""
    return tuple(sorted(file.stem for file in where.maas_logs.glob("*.log")))


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        record = loglines.parse(line.decode("utf-8", "replace"))
        if record:  # what somebody else wrote there is not ours to show
            yield record


class Follower:
    """The newest records of some services, and then what comes after them, across rotations."""

    def __init__(self, where: Paths, services: Iterable[str], count: int | None) -> None:
        self._files = {name: where.maas_logs / f"{name}.log" for name in services}
        self._streams: dict[str, BinaryIO] = {}
        self._rest: dict[str, bytes] = {}
        found: list[Record] = []
        for name in self._files:
            found += _records(self._last_lines(name, count))
        found.sort(key=lambda record: record.time)
        self.history = found if count is None else found[len(found) - min(count, len(found)) :]
        """The newest `count` records (None: all there are), oldest first."""

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def new(self) -> list[Record]:
        """Return what came since the last call, oldest first."""
        found: list[Record] = []
        for name in self._files:
            found += _records(self._new_lines(name))
        found.sort(key=lambda record: record.time)
        return found

    def _last_lines(self, name: str, count: int | None) -> list[bytes]:
        lines: list[bytes] = []
        if self._open(name):
            *lines, self._rest[name] = _end(self._streams[name], count)
        if count is None or len(lines) < count:
            with contextlib.suppress(OSError), Path(f"{self._files[name]}.1").open("rb") as before:
                lines = [*_end(before, count)[:-1], *lines]
        return lines if count is None else lines[len(lines) - min(count, len(lines)) :]

    def _new_lines(self, name: str) -> list[bytes]:
        text = self._rest.get(name, b"")
        if name in self._streams:
            rotated = self._rotated(name)  # asked before the last read: nothing is written to it after that
            text += self._streams[name].read()
            if rotated:
                self._streams.pop(name).close()
        if name not in self._streams and self._open(name):
            text += self._streams[name].read()
        *lines, self._rest[name] = text.split(b"\n")
        return lines

    def _open(self, name: str) -> bool:
        try:
            self._streams[name] = self._files[name].open("rb")
        except OSError:
            return False
        return True

    def _rotated(self, name: str) -> bool:
        try:
            now = self._files[name].stat()
        except OSError:
            return True
        stream = self._streams[name]
        return now.st_ino != os.fstat(stream.fileno()).st_ino or now.st_size < stream.tell()


def last(where: Paths, service: str, count: int, *, until: str) -> list[str]:
    """Return the newest `count` lines that a service printed until then (a record's time)."""
    looked_at = count
    while True:
        follower = Follower(where, (service,), looked_at)
        follower.close()
        found = [record for record in follower.history if record.time <= until]
        if len(found) >= count or len(follower.history) < looked_at:
            return [loglines.render(record).rstrip("\n") for record in found[-count:]]
        looked_at *= 4  # the next process has printed so much already


def _end(stream: BinaryIO, count: int | None) -> list[bytes]:
    """Return at least the last `count` lines and the unfinished one, reading not much more than it takes."""
    end = position = stream.seek(0, os.SEEK_END)
    text = b""
    while position and (count is None or text.count(b"\n") <= count):
        step = min(BLOCK, position)
        position = stream.seek(position - step)
        text = stream.read(step) + text
    stream.seek(end)
    lines = text.split(b"\n")
    return lines[1:] if position else lines  # the first is a part of one
