"""Hand over: supervisord is the only child, with a clean signal mask, environment and capabilities."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping

from . import confine, log
from .paths import Paths
from .privileges import Privileges, launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .services import Catalogue  # it takes long to load, and supervisord is to be started first

PASSED_ON = ("TZ", "MAAS_INIT_ROOT", "MAAS_INIT_SERVICES")


def environment(where: Paths, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what all services see."""
    return where.environment() | {name: environ[name] for name in PASSED_ON if name in environ}


def more_environment(where: Paths, environ: Mapping[str, str], catalogue: Catalogue) -> dict[str, str]:
    """Return what some services see besides, because their files name it (see plugin.py).

    MAAS talks to us and not to systemd because of PEBBLE.
    """
    named = {name for service in catalogue.services for name in service.pass_environment}
    given = {**environ, "PEBBLE": os.fspath(where.run)}
    return {name: given[name] for name in sorted(named) if name in given}


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

    def begin(self, more_environment: Mapping[str, str]) -> None:
        """Have it read its configuration and start. The caller has blocked the signals it waits for.

        Process 1 starts nothing after it, so it keeps no capability either.
        """
        with contextlib.suppress(BrokenPipeError):  # it has ended already: whoever waits for it will see
            os.write(self._write_end, json.dumps(more_environment).encode())
        os.close(self._write_end)
        if confine.has_capabilities():
            confine.keep_capabilities(())
        log.info("supervisord.started", pid=self.pid)
