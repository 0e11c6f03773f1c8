"""squid: what MAAS writes, and a record of every request in the log."""

from __future__ import annotations

from ..paths import Paths
from .file import ConfigFile


def squid_conf(where: Paths) -> ConfigFile:
    """Return the frame around MAAS's configuration, whose own record goes to a system log that is not there."""
    return ConfigFile(
        where.run / "squid.conf",
        f"""\
# Written by maas-init at start.
include {where.maas_data}/maas-proxy.conf
access_log stdio:/dev/stdout
""",
    )
