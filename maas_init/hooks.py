"""Hooks: programs of the operator's that run at moments of the container's life, as user maas and without rights.

They lie in /etc/maas-init/hooks.d/EVENT/ and run one after the other, in the order of their names. What comes of each
is logged; none stops anything (docs/how-to/extend.md).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

from . import log, privileges
from .paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

CONFIGURED, READY, STOPPING = "configured", "ready", "stopping"
"""Every file is written and no service runs; the container is healthy or degraded for the first time; before the first
service is told to stop."""
WITHIN = {CONFIGURED: 60.0, READY: 600.0, STOPPING: 1.5}
"""Seconds for all hooks of an event together. The last is what Docker's ten seconds leave."""
KEPT = 1 << 16
"""Bytes of what a hook printed that are told, the newest."""
LOOK_EVERY = 0.1

LAUNCH = """
import os, sys
from maas_init import confine
confine.keep_capabilities(())
confine.forbid_new_privileges()
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Gives up every right, in a process of its own: whoever runs it has threads, which fork alone does not stand."""


def of(where: Paths, event: str) -> list[Path]:
    """Return what lies there for an event, in order; hidden files and editors' copies are left out."""
    try:
        found = sorted((where.hooks / event).iterdir())
    except OSError:
        return []
    return [each for each in found if not each.name.startswith(".") and not each.name.endswith("~")]


def run(where: Paths, event: str) -> None:
    """Run the hooks of an event; return when all have ended, or their time is over."""
    last = time.monotonic() + WITHIN[event]
    for path in of(where, event):
        name, began = f"{event}/{path.name}", time.monotonic()
        if began >= last:
            how = f"it was not run: the hooks for {event} have {WITHIN[event]:g} s together"
        elif os.access(path, os.X_OK):
            how = _run(path, where, event, last)
        else:
            how = "it is not executable"
        say = log.error if how else log.info
        say("hook.ended", hook=name, how=how or "well", seconds=time.monotonic() - began)


def _run(path: Path, where: Paths, event: str, last: float) -> str:
    """Return how it failed, or nothing."""
    import subprocess  # process 1 has no other use for it

    environ = where.environment() | privileges.names(where) | {"MAAS_INIT_EVENT": event}
    process = subprocess.Popen(
        (sys.executable, "-E", "-c", LAUNCH, os.fspath(path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
        start_new_session=True,
    )
    with process:
        try:
            printed, late = _listen(process, last)
        except BaseException:
            _kill(process.pid)  # the container ends
            raise
        if late:
            _kill(process.pid)
    for line in printed.decode("utf-8", "replace").splitlines():
        log.quote("hook.said", hook=f"{event}/{path.name}", line=line)
    if late:
        return f"it was killed: the hooks for {event} have {WITHIN[event]:g} s together"
    code = process.returncode
    if code < 0:
        return f"it was killed by signal {-code}"
    return f"it exited with {code}" if code else ""


def _listen(process: subprocess.Popen[bytes], last: float) -> tuple[bytes, bool]:
    """Return the end of what it printed, and whether it still runs after its time.

    What it leaves in the background may hold its output open: that is not waited for.
    """
    assert process.stdout is not None
    printed, open_ = b"", True
    while time.monotonic() < last:
        ready = select.select([process.stdout] if open_ else [], [], [], LOOK_EVERY)[0]
        if ready:
            piece = os.read(process.stdout.fileno(), KEPT)
            open_, printed = bool(piece), (printed + piece)[-KEPT:]
        elif process.poll() is not None:
            return printed, False
    return printed, process.poll() is None


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
