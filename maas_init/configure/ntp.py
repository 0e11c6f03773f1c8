"""chronyd: answers this container even before MAAS says whom else it may serve."""

from __future__ import annotations

from textwrap import dedent

from ..paths import Paths
from .file import ConfigFile


def chrony_conf(where: Paths) -> list[ConfigFile]:
    """Return a skeleton for chrony.conf, which MAAS rewrites, and our own line in a file that it leaves alone."""
    chrony = where.at("/etc/chrony")
    return [
        ConfigFile(
            chrony / "chrony.conf",
            dedent(
                f"""\
                confdir {chrony}/conf.d
                driftfile {where.at("/var/lib/chrony")}/chrony.drift
                """
            ),
            keep_existing=True,
        ),
        ConfigFile(chrony / "conf.d" / "maas-init.conf", "# The health probe asks from here.\nallow 127.0.0.1\n"),
    ]
