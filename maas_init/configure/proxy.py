"""squid: what MAAS writes, and a record of every request in the log."""

from __future__ import annotations

from ..paths import Paths
from .file import ConfigFile


def squid_conf(where: Paths) -> ConfigFile:
    """Return the frame around MAAS's configuration, whose own record goes to a system log that is not there.

    What squid measures by ping it could not: its pinger insists on root, and nothing that MAAS configures uses it.
    """
    return ConfigFile(
        where.run / "squid.conf",
        f"""\
# Written by maas-init at start.
include {where.maas_data}/maas-proxy.conf
# Without the time, which every line gets, and without our own probe.
logformat maas_init %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt
acl maas_init browser ^maas-init$
access_log stdio:/dev/stdout logformat=maas_init !maas_init
pinger_enable off
netdb_filename none
""",
    )
