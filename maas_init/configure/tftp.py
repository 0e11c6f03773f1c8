"""TFTP: a file that our own question to rackd asks for (probes.py); everything else there is MAAS's."""

from __future__ import annotations

from ..paths import Paths
from .file import ConfigFile


def question(where: Paths) -> ConfigFile:
    return ConfigFile(where.maas_data / "tftp_root" / "maas-init.txt", "Whoever reads this has reached TFTP.\n")
