"""Whether machines can boot over the network from here, and what is in the way: the question people come with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

YES, LIMITED, NO, ELSEWHERE = "yes", "limited", "no", "elsewhere"
"""Any machine; some machines, or with somebody else's help; none; this container has no rack controller."""
WORDS = {YES: "yes", LIMITED: "only some", NO: "no", ELSEWHERE: "not from here"}

NEEDED = ("rackd", "tftp", "http", "region-link")
"""Services and checks that every network boot goes through."""
WITHOUT_REGION = ("agent",)
"""What it goes through besides where the files are another container's: they come by way of these."""
DHCP = ("dhcpd", "dhcpd6")


class Import(NamedTuple):
    """How much of MAAS's boot images has come."""

    files: int
    of_files: int
    megabytes: int
    of_megabytes: int

    @property
    def complete(self) -> bool:
        return self.files >= self.of_files

    @property
    def percent(self) -> int:
        return 100 * self.megabytes // max(self.of_megabytes, 1)


def import_in_words(found: Mapping[str, int]) -> str:
    """Return how much has come, as it stands in the status file, for people."""
    return (
        f"MAAS is fetching boot images: {found['files']} of {found['of_files']} files are here, "
        f"{found['megabytes']:,} of {found['of_megabytes']:,} MB"
    )


class Surroundings(NamedTuple):
    """What no service tells (surroundings.py)."""

    imported: bool | None
    """Whether the region has boot loaders and images to give; None where it is another container's business."""
    bridged: bool
    """Whether all networks here are an engine's bridge, which broadcasts of other machines do not reach."""
    importing: Import | None = None
    """How far the import of boot images is, also when that is all; None when nothing comes, or nobody knows."""


def answer(services: Mapping[str, Mapping[str, Any]], around: Surroundings | None) -> dict[str, Any]:
    """Return `ready` (a key of WORDS) and `reasons`, from what the status file says of services."""
    if "rackd" not in services:
        return {"ready": ELSEWHERE, "reasons": ["machines boot from rack controllers, and none is in this container"]}
    needed = NEEDED if "regiond" in services else NEEDED + WITHOUT_REGION
    missing = [services[name]["why"] for name in needed if name in services and services[name]["level"] != "ready"]
    dhcp = [services[name] for name in DHCP if name in services]
    given = any(each["level"] == "ready" for each in dhcp)
    broken = [each["why"] for each in dhcp if each["level"] not in ("ready", "off")]
    missing += [] if given else broken
    if around and around.imported is False:
        how = "they are being fetched" if around.importing else "see Images in MAAS"
        missing.append(f"MAAS has not imported boot loaders and images yet: {how}")
    limits = broken if given else []
    if not given:
        limits.append(
            "MAAS gives no addresses: switch DHCP on for a VLAN in MAAS (Subnets), or have another DHCP server send "
            "machines here"
        )
    if around and around.bridged:
        limits.append(
            "this network is a bridge inside the host, which other machines' broadcasts do not reach: "
            "use host networking or macvlan"
        )
    ready = NO if missing else LIMITED if limits else YES
    return {"ready": ready, "reasons": [*missing, *limits]}


def in_words(found: Mapping[str, Any]) -> str:
    """Return the answer as a sentence."""
    words = WORDS.get(found["ready"], found["ready"])
    return f"{words}: {'; '.join(found['reasons'])}" if found["reasons"] else words
