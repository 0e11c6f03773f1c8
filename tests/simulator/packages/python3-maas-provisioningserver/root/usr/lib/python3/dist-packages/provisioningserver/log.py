"""Two kinds of log line, as in MAAS.

`log(name)` prints "name: [level] message" on standard output, without a time.
`maaslog(name)` speaks only to rsyslog's socket; while that is absent its lines
wait in memory, without bound.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections import deque

from . import paths

FORMAT = "%(name)s: [%(level)s] %(message)s"
_PRIORITY = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_LEVEL = {"WARNING": "warn"}


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.level = _LEVEL.get(record.levelname, record.levelname.lower())
        return super().format(record)


class _Stdout(logging.StreamHandler):
    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self.flush()


class _Syslog(logging.Handler):
    """Datagrams to rsyslog/log.sock; a queue in memory while it is not there."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[bytes] = deque()
        self._socket: socket.socket | None = None
        self._one_sender = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        priority = 3 * 8 + _PRIORITY.get(record.level, 6)
        self._waiting.append(f"<{priority}>{text}\0".encode())
        self.send()

    def send(self) -> None:
        with self._one_sender:
            while self._waiting:
                try:
                    if self._socket is None:
                        new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                        new.connect(str(paths.syslog("rsyslog/log.sock")))
                        self._socket = new
                    self._socket.send(self._waiting[0])
                except OSError:
                    self._socket = None
                    return
                self._waiting.popleft()

    def flush_for_ever(self, every: float = 2.0) -> None:
        forever = threading.Event()
        while not forever.wait(every):
            if self._waiting:
                self.send()


def begin(debug: bool = False) -> None:
    """Set both kinds up; a daemon does this once, when its database answers."""
    stdout = _Stdout(sys.stdout)
    stdout.setFormatter(_Format(FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [stdout]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    syslog = _Syslog()
    syslog.setFormatter(_Format(FORMAT))
    maas = logging.getLogger("maas")
    maas.handlers[:] = [syslog]
    maas.setLevel(logging.INFO)
    maas.propagate = False
    threading.Thread(target=syslog.flush_for_ever, daemon=True).start()


def log(name: str) -> logging.Logger:
    return logging.getLogger(name)


def maaslog(name: str) -> logging.Logger:
    return logging.getLogger(f"maas.{name}")
