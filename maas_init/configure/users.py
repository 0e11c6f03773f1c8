"""The user `maas`, whatever uid the container runs as.

PostgreSQL, chronyd and ssh-keygen want a name for the uid they run as, and MAAS's helpers want it to be `maas`. The
image names only the uid it was built with, and /etc may be read-only. nss_wrapper, a library loaded before the others,
answers from files of ours, in the processes that supervisord starts, and only where the image's answer would be wrong.

What else there is: /etc/passwd as a link to what we write would let whoever writes it choose whom `docker exec -u maas`
runs as; libnss-extrausers knows no uid below 500 and no gid 0.
"""

from __future__ import annotations

import os

from .. import privileges
from ..paths import Paths
from .file import ConfigFile


def names(where: Paths) -> list[ConfigFile]:
    """Return the files in which this process's uid and gid are maas's; none where they are already."""
    if not privileges.names(where):
        return []
    uid, gid = os.geteuid(), os.getegid()
    maas = f"maas:x:{uid}:{gid}:MAAS:{where.maas_data}:/bin/bash"
    return [
        ConfigFile(where.run / "passwd", _with(where, "passwd", maas)),
        ConfigFile(where.run / "group", _with(where, "group", f"maas:x:{gid}:")),
    ]


def _with(where: Paths, name: str, maas: str) -> str:
    """Return the image's file with this line first: who else has the same number comes after."""
    others = where.at(f"/etc/{name}").read_text(encoding="utf-8").splitlines()
    return "\n".join([maas, *(line for line in others if not line.startswith("maas:"))]) + "\n"
