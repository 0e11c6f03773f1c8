"""supervisord's XML-RPC: the few calls we make. They block for some milliseconds, so the listener uses threads."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MaasInitError
from .health import Process
from .unixhttp import UnixConnection

# From supervisor.xmlrpc.Faults, which would bring the whole server along.
SPAWN_ERROR = 50
"""The program died within the call: its state tells the rest."""
ALREADY_STARTED = 60
NOT_RUNNING = 70


class SupervisorError(MaasInitError):
    """supervisord refused, or is not there."""


@dataclass(frozen=True)
class Asked:
    """What somebody asked of supervisord itself, with supervisorctl for example (plugin.py)."""

    on: bool
    moment: float
    """When, in seconds of CLOCK_MONOTONIC."""


@dataclass(frozen=True)
class Ending:
    """How a process ended, or why it could not be started (plugin.py)."""

    pid: int
    """0 when it could not be started."""
    code: int
    """Its exit status, or the negative number of the signal that ended it."""
    error: str
    """Why it could not be started."""
    wished: bool
    """Whether supervisord had been asked to stop it."""
    at: float
    """When, in seconds since the epoch."""
    lasted: float
    """Seconds it had run."""
    again_in: float
    """Seconds after which supervisord tries again."""

    @property
    def how(self) -> str:
        """Say it in words."""
        if self.error:
            return f"could not be started: {self.error}"
        if self.code >= 0:
            return f"exited with {self.code}"
        try:
            return f"was killed by {signal.Signals(-self.code).name}"
        except ValueError:  # a real-time signal has no name
            return f"was killed by signal {-self.code}"


@dataclass(frozen=True)
class ProcessInfo:
    """What supervisord knows of one program."""

    process: Process
    pid: int
    started: int
    """Seconds since the epoch; 0 when it never was."""
    exit_status: int
    """How it last ended; -1 for any signal."""
    spawn_error: str
    asked: Asked | None
    """What an operator asked of it last."""
    ending: Ending | None
    """How the process before this one, or the last one, ended."""


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = UnixConnection(self._path)
        self._connection = host, connection  # where close() looks for it
        return connection


class Supervisor:
    """The supervisord that listens on `path`; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._transport = UnixTransport(path)
        self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)
        self._lock = threading.Lock()

    def _call(self, method: str, *arguments: Any, fine: tuple[int, ...] = ()) -> Any:
        try:
            with self._lock:
                try:
                    return getattr(self._proxy, method)(*arguments)
                finally:
                    # supervisord closes idle connections at moments of its own choosing.
                    self._transport.close()
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in fine:
                return None
            # The name of the fault comes first: NO_FILE: can't find command '/usr/sbin/named'.
            raise SupervisorError(f"supervisord says {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorError(f"cannot reach supervisord: {error}") from error

    def processes(self) -> dict[str, ProcessInfo]:
        """Return every program by its name."""
        return {
            found["name"]: ProcessInfo(
                process=Process(found["statename"]),
                pid=found["pid"],
                started=found["start"],
                exit_status=found["exitstatus"],
                spawn_error=found["spawnerr"],
                asked=Asked(*found["asked"]) if found["asked"] else None,
                ending=Ending(**found["ending"]) if found["ending"] else None,
            )
            for found in json.loads(self._call("maas_init.processes"))
        }

    def start(self, name: str, wished: float) -> None:
        """Start a program, if it does not run, and return at once.

        `wished` is when that was wished (CLOCK_MONOTONIC): when an operator wished otherwise since, nothing happens.
        """
        self._call("maas_init.start", name, wished, fine=(ALREADY_STARTED, SPAWN_ERROR))

    def stop(self, name: str, wished: float) -> bool:
        """Ask a program to stop, if it runs, and return at once; supervisord kills it when its time is over.

        `wished` as for `start`; return whether it was still wished.
        """
        return self._call("maas_init.stop", name, wished, fine=(NOT_RUNNING,)) is not False

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program's main process."""
        # A plain number: on Python 3.10 the text of a signal.Signals is its name.
        self._call("supervisor.signalProcess", name, str(int(number)))

    def shutdown(self) -> None:
        """Stop everything and end."""
        self._call("supervisor.shutdown")
