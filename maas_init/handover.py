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

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(where: Paths, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what services see: nothing of the container's environment, where secrets are, but the time zone.

    MAAS talks to us and not to systemd because of PEBBLE. HOME must be readable or every request to the API server
    fails; systemd would set it, supervisord does not.
    """
    ours = {
        "PATH": PATH,
        "HOME": os.fspath(where.maas_data),
        "USER": "maas",
        "LOGNAME": "maas",
        "LANG": "C.UTF-8",
        "PEBBLE": os.fspath(where.run),
    }
    return ours | {name: environ[name] for name in ("TZ", "MAAS_INIT_ROOT", "MAAS_INIT_SERVICES") if name in environ}


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
