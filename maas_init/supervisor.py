"""supervisord's XML-RPC: the few calls we make.

What we send and what comes back has so few shapes that the standard library's XML-RPC, with the HTTP client that it
loads, would be most of the listener's size and of the time until it begins.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import MaasInitError
from .exchange import NotUnderstood, http
from .health import Process

NOT_RUNNING = 70
"""From supervisor.xmlrpc.Faults, which would bring the whole server along."""


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


WITHIN = 10.0
"""Seconds in which supervisord answers, however busy it is."""


class Supervisor:
    """The supervisord that listens on `path`."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    async def _call(self, method: str, *arguments: str | float, fine: tuple[int, ...] = ()) -> str:
        """Return the one value of the answer as text; nothing for a fault that is fine."""
        try:
            status, answer = await http(self._path, "/RPC2", WITHIN, body=_written(method, arguments))
        except (OSError, NotUnderstood) as error:
            raise SupervisorError(f"cannot reach supervisord: {str(error) or type(error).__name__}") from error
        values = [_unescaped(value) for value in re.findall(r"<(?:string|int|boolean)>(.*?)</", answer.decode(), re.S)]
        if status != 200 or not values:
            raise SupervisorError(f"supervisord answers with HTTP status {status}")
        if b"<fault>" in answer:
            code, text = values
            if int(code) in fine:
                return ""
            # The name of the fault comes first: NO_FILE: can't find command '/usr/sbin/named'.
            raise SupervisorError(f"supervisord says {text}")
        return values[0]

    async def processes(self) -> dict[str, ProcessInfo]:
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
            for found in json.loads(await self._call("maas_init.processes"))
        }

    async def start(self, wished: Mapping[str, float], anew: Collection[str] = ()) -> dict[str, str]:
        """Start programs, if they do not run, and return at once; the answer says which were refused, and why.

        With each name goes when that was wished (CLOCK_MONOTONIC): when an operator wished otherwise since, nothing
        happens. Those that are wished `anew` have their failures forgotten.
        """
        refused: dict[str, str] = json.loads(await self._call("maas_init.start", json.dumps([wished, [*anew]])))
        return refused

    async def stop(self, name: str, wished: float) -> bool:
        """Ask a program to stop, if it runs, and return at once; supervisord kills it when its time is over.

        `wished` as for `start`; return whether it was still wished.
        """
        return await self._call("maas_init.stop", name, wished, fine=(NOT_RUNNING,)) != "0"

    async def signal(self, name: str, number: int) -> None:
        """Send a signal to a program's main process."""
        # A plain number: on Python 3.10 the text of a signal.Signals is its name.
        await self._call("supervisor.signalProcess", name, str(int(number)))

    async def shutdown(self) -> None:
        """Stop everything and end."""
        await self._call("supervisor.shutdown")


def _written(method: str, arguments: tuple[str | float, ...]) -> bytes:
    values = (
        f"<string>{_escaped(value)}</string>" if isinstance(value, str) else f"<double>{value!r}</double>"
        for value in arguments
    )
    parameters = "".join(f"<param><value>{value}</value></param>" for value in values)
    return f"<methodCall><methodName>{method}</methodName><params>{parameters}</params></methodCall>".encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
