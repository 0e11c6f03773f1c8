"""A line of the log: what the services print becomes records with one time, one level and the service's name.

Every daemon has a habit of its own: MAAS's print no time, bind9's and squid's their own kinds. Their times go, because
each line gets one when it is read, and their levels become five words. Pure, and called for every line that any
service prints: it never fails.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

FORMATS = ("console", "json")

LONGEST = 16384
"""Bytes of a line; a longer one is cut into pieces."""
KEPT_BACK = 12288
"""Bytes behind a cut that have to be known before: what is to be hidden may have come by half. The longest secret takes
as many where a URL quotes it: 1,024 characters of four bytes."""

TRACEBACK = "Traceback (most recent call last)"
LONGEST_TRACEBACK = 200
"""Lines that are kept together at the most."""

_LEVELS = {
    "debug": ("debug", "dbg", "trace"),
    "info": ("info", "inf", "log", "notice", "hint", "detail", "statement"),
    "warning": ("warning", "warn", "wrn", "alert"),
    "error": ("error", "err", "failure"),
    "critical": ("critical", "crit", "fatal", "panic", "emerg", "ftl"),
}
_LEVEL = {word: level for level, words in _LEVELS.items() for word in words}
_WORDS = "|".join(sorted(_LEVEL, key=len, reverse=True))

_TIME = re.compile(
    r"(?:"
    r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z| UTC)?"  # most
    r"|\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d\.\d{3}"  # bind9
    r")\|? +"
)
# At the start, or in brackets a little later: "[error] 135#135: ...", "maasserver.start_up: [info] ...", "ERROR:  ...".
_LEVEL_FIRST = re.compile(rf"\[?({_WORDS})\b\]?:? *", re.IGNORECASE)
_LEVEL_IN_BRACKETS = re.compile(rf"^.{{0,80}}?\[({_WORDS})\]", re.IGNORECASE)
_OURS = re.compile(rf"(\S+Z) ({'|'.join(_LEVELS)}) +(\S+) ?(.*)", re.DOTALL)
_OWN_QUESTIONS = re.compile(
    r"agent: maas-init\)$|(?:^|\s)- \"GET /api/v2/ HTTP/1\.1\" 200 OK$|\bmaas-init\.txt requested by 127\.0\.0\.1$"
)
"""What regiond, rackd and the API server print of each question of the listener: the half of a quiet day's log."""
_PREFIX = re.compile(r"std(?:err|out): \[\w+\] ")
"""What Twisted puts before each line that MAAS's daemons print on a stream."""
_INVISIBLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Record(NamedTuple):
    """One event; a traceback's lines are one record."""

    time: str
    """UTC, to the millisecond."""
    level: str
    """debug, info, warning, error or critical."""
    service: str
    message: str


def now() -> str:
    """Return the present time as records carry it."""
    return stamp(time.time())


def stamp(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as records carry it."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03}Z"


def ago(seconds: int) -> str:
    """Return a length of time as systemd says it."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{max(0, seconds)}s"
    if days:
        return f"{days} day{'s' if days > 1 else ''} {hours % 24}h"
    return f"{hours}h {minutes % 60}min" if hours else f"{minutes}min {seconds % 60}s"


def render(record: Record, form: str = "console") -> str:
    """Return the record as text with a line end: one line of JSON, or a line for each of the message's."""
    if form == "json":
        told = {"time": record.time, "level": record.level, "service": record.service, "message": record.message}
        return json.dumps(told, ensure_ascii=False) + "\n"
    head = f"{record.time} {record.level:<7} {record.service}"
    return "".join(f"{head} {line}".rstrip() + "\n" for line in record.message.split("\n"))


def parse(line: str) -> Record | None:
    """Return the record of one line that `render` wrote for the console, or None."""
    found = _OURS.fullmatch(line.rstrip("\n"))
    return Record(*found.groups()) if found else None


class Assembler:
    """Makes records of what one service prints, in pieces of any size."""

    def __init__(self, service: str, hide: Callable[[str], str] = str) -> None:
        """`hide` takes out what nobody may see, before a line is cut: no half of it would be found any more."""
        self._service = service
        self._hide = hide
        self._rest = b""
        self._traceback: list[str] = []
        self._prefix = ""
        """Of each line of the traceback."""

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._hear_pieces(line)
        if len(self._rest) > LONGEST + KEPT_BACK:
            rest = self._hidden(self._rest)
            cut = max(0, len(rest) - KEPT_BACK) // LONGEST * LONGEST
            self._rest = rest[cut:]
            if cut:
                yield from self._hear_pieces(rest[:cut])

    def flush(self) -> Iterator[Record]:
        """Yield what is left when nothing more will come."""
        if self._rest:
            rest, self._rest = self._rest, b""
            yield from self._hear_pieces(rest)
        yield from self._end_of_traceback()

    def _hear_pieces(self, line: bytes) -> Iterator[Record]:
        if len(line) > LONGEST:
            line = self._hidden(line)
        for start in range(0, len(line) or 1, LONGEST):
            yield from self._hear(_readable(line[start : start + LONGEST]))

    def _hidden(self, line: bytes) -> bytes:
        return self._hide(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _hear(self, line: str) -> Iterator[Record]:
        if self._traceback:
            yield from self._hear_traceback(line, line.removeprefix(self._prefix))
        elif TRACEBACK in line:
            prefix = line.partition(TRACEBACK)[0]
            self._prefix = prefix if _PREFIX.fullmatch(prefix) else ""
            self._traceback.append(line)
        elif line and not _OWN_QUESTIONS.search(line):
            yield self._record(line)

    def _hear_traceback(self, line: str, text: str) -> Iterator[Record]:
        """Hear a line after the first; `text` is what it says without the prefix."""
        if self._traceback[0][0].isspace():
            # Twisted indents all of it, also the exception's name, and ends with an empty line.
            last, foreign = not text, bool(text) and not text[0].isspace()
        else:
            # The first line that is not indented names the exception: it is the last.
            last, foreign = bool(text) and not text[0].isspace(), False
        if not foreign:
            self._traceback.append(text)
        if last or foreign or len(self._traceback) >= LONGEST_TRACEBACK:
            yield from self._end_of_traceback()
        if foreign:
            yield from self._hear(line)

    def _end_of_traceback(self) -> Iterator[Record]:
        if self._traceback:
            first, *others = self._traceback
            self._traceback = []
            head = self._record(first)
            level = "error" if head.level == "info" else head.level
            yield Record(head.time, level, head.service, "\n".join([head.message, *others]).rstrip())

    def _record(self, line: str) -> Record:
        ours = parse(line)
        if ours and ours.service == "maas-init":  # a line of our own: it has everything but the service's name
            return Record(ours.time, ours.level, self._service, ours.message)
        message = _TIME.sub("", line, count=1) if line[0].isdigit() else line
        first = _LEVEL_FIRST.match(message)
        if first:
            level, message = first[1], message[first.end() :] or message
        else:
            found = _LEVEL_IN_BRACKETS.search(message)
            level = found[1] if found else "info"
        return Record(now(), _LEVEL[level.lower()], self._service, message)


def _readable(line: bytes) -> str:
    """Return the line without colours and what a terminal would act upon."""
    return _INVISIBLE.sub("", line.decode("utf-8", "replace").rstrip("\r")).rstrip()
