"""What services print, inside supervisord: each line to the service's own file and, labelled, to the container's log.

Nobody waits for the reader of the container's log. Docker reads a pipe; when it stalls, whoever writes to the pipe
stalls too, and supervisord must not. The pipe is shared with process 1 and so cannot be made non-blocking; but when
poll() says it can be written, it takes 4,096 bytes at once. What cannot be written waits here up to a limit, then is
dropped and counted.
"""

from __future__ import annotations

import atexit
import os
import select
import time
from collections import deque
from typing import Any

from supervisor import dispatchers, events, loggers

from . import loglines, masks
from .loglines import Assembler, Record
from .masks import Masks

AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe takes without making us wait when poll() says that it can be written."""
MOST_WAITING = 4 << 20
"""Bytes that may wait for a slow reader of the container's log."""
LAST_CHANCE = 1.0
"""Seconds that a slow reader has for what waits when supervisord ends."""

LEVELS = {
    loggers.LevelsByName.CRIT: "critical",
    loggers.LevelsByName.ERRO: "error",
    loggers.LevelsByName.WARN: "warning",
}
"""supervisord's words for its own messages; everything below is info."""

HARMLESS = "running without any HTTP authentication checking"
"""What supervisord warns of: its socket is for this user alone."""


class Hidden:
    """What no line may show, as two files say: process 1 writes one when the container starts, the region the other."""

    def __init__(self, values: str, shared_secret: str) -> None:
        self._files = values, shared_secret
        self._seen: list[int] = []
        self.masks = Masks()
        self.look()

    def look(self, _event: object = None) -> None:
        """Read them anew when one of them has changed."""
        seen = [_changed_at(file) for file in self._files]
        if seen != self._seen:
            self._seen, self.masks = seen, masks.read(*self._files)


def _changed_at(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116 - pathlib is not in supervisord
    except OSError:
        return 0


class Console:
    """The container's log; the methods are those of supervisord's dispatchers."""

    def __init__(self, descriptor: int, form: str) -> None:
        self._descriptor = descriptor
        self._form = form
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0

    def say(self, record: Record) -> None:
        """Write the record as soon as the reader takes it; drop it when too much waits already."""
        text = loglines.render(record, self._form).encode("utf-8", "replace")
        if self._dropped or self._size + len(text) > MOST_WAITING:
            self._dropped += 1
            return
        self._add(text)

    def _add(self, text: bytes) -> None:
        self._waiting.extend(text[start : start + AT_ONCE] for start in range(0, len(text), AT_ONCE))
        self._size += len(text)
        self.handle_write_event()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return bool(self._waiting)

    def handle_write_event(self) -> None:
        """Write while that does not make us wait."""
        while self._waiting and self._has_room(0):
            piece = self._waiting.popleft()
            while self._waiting and len(piece) + len(self._waiting[0]) <= AT_ONCE:
                piece += self._waiting.popleft()
            try:
                written = os.write(self._descriptor, piece)
            except OSError:  # nobody reads any more: no reason to stop supervising
                self._waiting.clear()
                self._size = 0
                break
            self._size -= written
            if written < len(piece):
                self._waiting.appendleft(piece[written:])
        if self._dropped and not self._waiting:
            dropped, self._dropped = self._dropped, 0
            told = f"log.dropped records={dropped} reason=" + '"the reader of the container\'s log is too slow"'
            self._add(loglines.render(Record(loglines.now(), "warning", "maas-init", told), self._form).encode())

    def drain(self) -> None:
        """Write what waits before supervisord ends, as long as the reader is not too slow."""
        deadline = time.monotonic() + LAST_CHANCE
        while self._waiting and self._has_room(deadline - time.monotonic()):
            self.handle_write_event()

    def _has_room(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def handle_error(self) -> None:
        raise  # noqa: PLE0704 - called inside supervisord's except block: an error here is a bug to be seen


class OwnMessages(loggers.Handler):  # type: ignore[misc] # supervisor has no types
    """supervisord's own log, said like everything else."""

    def __init__(self, console: Console, hidden: Hidden) -> None:
        loggers.Handler.__init__(self)
        self._console = console
        self._hidden = hidden

    def emit(self, record: Any) -> None:
        message = str(record.asdict()["message"]).rstrip()
        if HARMLESS not in message:
            level = LEVELS.get(record.level, "info")
            self._console.say(Record(loglines.now(), level, "supervisord", self._hidden.masks.hide(message)))

    def reopen(self) -> None:
        """Keep the container's log; files are reopened by their own handlers."""

    def close(self) -> None:
        """Keep the container's log: it is not ours to close."""


class Lines(dispatchers.POutputDispatcher):  # type: ignore[misc] # supervisor has no types
    """One stream of a service: hands whole lines to the service's file and to the container's log."""

    console: Console
    hidden: Hidden

    def __init__(self, process: Any, event_type: Any, fd: int) -> None:
        super().__init__(process, event_type, fd)
        self._assembler = Assembler(process.config.name, self._hide)

    def _init_normallog(self) -> None:
        logfile = str(getattr(self.process.config, f"{self.channel}_logfile"))
        if logfile.startswith("/dev/"):
            return  # the container's log gets it anyway
        try:
            super()._init_normallog()
        except OSError as error:
            self.normallog = None  # better a service without a file than no service
            self._warn(f"log.not_kept file={logfile} reason={error.strerror!r}")

    def _log(self, data: bytes) -> None:
        self._keep(list(self._assembler.feed(data)))

    def close(self) -> None:
        self._keep(list(self._assembler.flush()))
        super().close()

    def _hide(self, text: str) -> str:
        return self.hidden.masks.hide(text)

    def _keep(self, records: list[Record]) -> None:
        text = "".join(map(loglines.render, records))
        if self.hidden.masks.found_in(text):
            records = [record._replace(message=self._hide(record.message)) for record in records]
            text = "".join(map(loglines.render, records))
        for record in records:
            self.console.say(record)
        try:
            super()._log(text.encode("utf-8", "replace"))
        except OSError as error:
            self._warn(f"log.not_kept reason={error.strerror!r}")

    def _warn(self, message: str) -> None:
        self.console.say(Record(loglines.now(), "warning", self.process.config.name, message))


def take(supervisord: Any, form: str, values: str, shared_secret: str) -> None:
    """Make supervisord speak and its services' lines go through us; it finds our class where it looks for its own."""
    Lines.console = console = Console(1, form)
    Lines.hidden = hidden = Hidden(values, shared_secret)
    for moment in (events.ProcessStateEvent, events.Tick5Event):
        events.subscribe(moment, hidden.look)
    supervisord.options.get_socket_map()[1] = console
    supervisord.options.logger.handlers.append(OwnMessages(console, hidden))
    dispatchers.POutputDispatcher = Lines
    atexit.register(console.drain)
