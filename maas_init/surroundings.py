"""What is around this container and decides whether machines can boot from it, though no service tells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .paths import Paths
from .pxe import Surroundings


def look(where: Paths, *, with_region: bool) -> Surroundings:
    """Look around. It may take long where the volume is a network's."""
    return Surroundings(_has_imported(where) if with_region else None, _all_bridged())


def _has_imported(where: Paths) -> bool:
    """Whether there is a boot loader, and a file of an image that is no longer being fetched."""
    storage = where.maas_data / "image-storage"
    boot_loaders = any(names for _, _, names in os.walk(storage / "bootloaders"))
    files = next(os.walk(storage), (None, None, []))[2]
    return boot_loaders and any(not name.endswith(".incomplete") for name in files)


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
