"""Hand over: supervisord is the only child, with a clean signal mask, environment and capabilities."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping

from . import log
from .paths import Paths
from .privileges import Privileges, launcher

PASSED_ON = ("TZ", "MAAS_INIT_ROOT", "MAAS_INIT_SERVICES")


def environment(where: Paths, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what services see. MAAS talks to us and not to systemd because of PEBBLE."""
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    return where.environment() | {"PEBBLE": os.fspath(where.run)} | passed_on


class Supervisord:
    """Our only child: it loads its code while we go on, and begins when we say so (supervisord.py)."""

    def __init__(self, where: Paths, privileges: Privileges, environ: Mapping[str, str]) -> None:
        argv = [
            *launcher(privileges, uid=os.geteuid(), gid=os.getegid()),
            # -I: nobody's files in the working directory are taken for modules.
            *(sys.executable, "-I", "-m", "maas_init.supervisord"),
            *("--configuration", os.fspath(where.supervisord_conf)),
        ]
        read_end, self._write_end = os.pipe()
        self.pid = os.posix_spawn(
            argv[0],
            argv,
            environment(where, environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, read_end, 0)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT),
        )
        os.close(read_end)

    def begin(self) -> None:
        """Have it read its configuration and start. The caller has blocked the signals it waits for."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already: whoever waits for it will see
            os.write(self._write_end, b"\0")
        os.close(self._write_end)
        log.info("supervisord.started", pid=self.pid)
