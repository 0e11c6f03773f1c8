"""What is around this container and decides whether machines can boot from it, though no service tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from . import images
from .paths import Paths
from .pxe import Surroundings
from .settings import Settings


def look(where: Paths, settings: Settings, before: Surroundings | None = None) -> Surroundings:
    """Look around; `before` is what was seen last. It may take long where the volume is a network's."""
    if "region" not in settings.roles:
        return Surroundings(imported=None, bridged=_all_bridged())
    storage = where.maas_data / "image-storage"
    boot_loaders = any(names for _, _, names in os.walk(storage / "bootloaders"))
    files = next(os.walk(storage), (None, None, []))[2]
    whole = [name for name in files if not name.endswith(".incomplete")]
    found = None
    # The database is asked only while something comes: between two files there is nothing to be seen on the disk.
    if len(whole) < len(files) or (before and before.importing):
        found = images.ask(settings.region().database, where) or (before and before.importing)
    return Surroundings(boot_loaders and bool(whole), _all_bridged(), found)


def _all_bridged() -> bool:
    names = [*_interfaces()]
    return bool(names) and all(map(is_bridged, names))


def _interfaces() -> Iterator[str]:
    """Yield the names of those that are up, but loopback."""
    with contextlib.suppress(OSError):
        for directory in Path("/sys/class/net").iterdir():
            with contextlib.suppress(OSError):
                if directory.name != "lo" and (directory / "operstate").read_text().strip() != "down":
                    yield directory.name


def is_bridged(interface: str) -> bool:
    """Whether it is one end of a pair whose other end is elsewhere, as a container engine makes for its bridges."""
    directory = Path("/sys/class/net") / interface
    try:
        own, other = ((directory / file).read_text().strip() for file in ("ifindex", "iflink"))
        return own != other and "DEVTYPE=" not in (directory / "uevent").read_text()  # macvlan, ipvlan, vlan say so
    except OSError:
        return False
