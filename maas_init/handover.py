"""Hand over: start supervisord as the only child, with a clean signal mask, environment and capabilities."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from . import log
from .paths import Paths
from .privileges import Privileges, launcher

PASSED_ON = ("TZ", "MAAS_INIT_ROOT", "MAAS_INIT_SERVICES")


def environment(where: Paths, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what services see. MAAS talks to us and not to systemd because of PEBBLE."""
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    return where.environment() | {"PEBBLE": os.fspath(where.run)} | passed_on


def start_supervisord(where: Paths, privileges: Privileges, environ: Mapping[str, str]) -> int:
    """Start supervisord and return its process id. The caller has blocked the signals it waits for."""
    supervisord = Path(sys.executable).with_name("supervisord")
    argv = [
        *launcher(privileges, uid=os.geteuid(), gid=os.getegid()),
        os.fspath(supervisord),
        "--configuration",
        os.fspath(where.supervisord_conf),
    ]
    pid = os.posix_spawn(
        argv[0],
        argv,
        environment(where, environ),
        setpgroup=0,
        setsigmask=(),
        setsigdef=(signal.SIGTERM, signal.SIGINT),
    )
    log.info("supervisord.started", pid=pid)
    return pid
