"""bind9's keys and blank files for MAAS, once for each deployment, before named starts."""

from __future__ import annotations

from .. import log
from .work import Work, tell

FILES = (
    "keys.conf.maas",
    "rndc.conf.maas",
    "named.conf.rndc.maas",
    "named.conf.options.inside.maas",
    "named.conf.maas",
)
"""What `setup-dns` leaves in /etc/bind/maas, in the order in which it writes them."""


def set_up(work: Work) -> bool:
    """Run setup-dns unless all it leaves is there; return whether it ran.

    Each run makes new keys, blanks the configuration and deletes all zones, which a running named would not notice
    and MAAS would not forgive. So bind9 starts after bootstrap, and what is complete is never made again.
    """
    directory = work.paths.at("/etc/bind/maas")
    if all((directory / name).is_file() and (directory / name).stat().st_size for name in FILES):
        return False
    tell(work.paths, "dns", "making the keys of bind9")
    directory.mkdir(parents=True, exist_ok=True)
    # If it were missing, setup-dns would make it and give it to bind's group, which only root can.
    zones = work.paths.at("/var/lib/bind/maas")
    zones.mkdir(mode=0o775, parents=True, exist_ok=True)
    work.maas.run("provisioningserver", "setup-dns")
    log.bound(phase="bootstrap").info("dns.prepared", path=str(directory))
    return True
