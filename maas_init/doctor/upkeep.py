"""What runs: whether every part answers, and what it went through."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .. import lastwords, loglines, report, retry
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

OFTEN = 3
"""Restarts that are worth a word."""
RECENTLY = 86400.0
"""Seconds."""


def listener(patient: Patient) -> str | Finding:
    """Does the health listener watch?"""
    patient.services()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - patient.status["uptime"]
    told = f"it spoke {max(0.0, age):.0f} s ago"
    return failure(told) if age > report.STALE_AFTER else told


def first_steps(patient: Patient) -> str | Finding:
    """Are database and configuration ready for MAAS?"""
    found = patient.services().get("bootstrap")
    if found is None:
        raise NotNow("not part of this container")
    if found["level"] == "ready":
        return "they are"
    summary = (patient.status.get("progress") or {}).get("summary") or "it has not begun"
    if found["failed"]:
        return failure(f"{found['because']}; it was at: {summary}")
    raise NotNow(f"not yet: {summary}")


def services_answer(patient: Patient) -> str | Finding:
    """Does every service answer that should?"""
    found = patient.services()
    bad = {name: facts for name, facts in found.items() if facts["level"] in ("down", "unwell")}
    # What is blocked though all it needs is there lacks something of the container.
    bad |= {
        name: facts
        for name, facts in found.items()
        if facts["level"] == "blocked" and all(found[need]["level"] == "ready" for need in facts["requires"])
    }
    if not bad:
        waiting = [name for name, facts in found.items() if facts["level"] in ("up", "blocked")]
        return (
            f"not yet: {', '.join(waiting)}" if waiting else f"{len(found)} services and checks are as they should be"
        )
    told = "; ".join(f"{name} is {facts['level']}: {facts['because']}" for name, facts in bad.items())
    return failure(told) if any(facts["critical"] for facts in bad.values()) else warning(told)


def services_gave_up(patient: Patient) -> str | Finding:
    """Has a service failed so often that it is only tried now and then?"""
    found = [
        f"{name} ({facts['failed']} times)"
        for name, facts in patient.services().items()
        if facts["failed"] >= retry.BUDGET
    ]
    return failure(", ".join(found)) if found else "none"


def services_restarted(patient: Patient) -> str | Finding:
    """Has a service been restarted again and again?"""
    found = {name: facts["restarts"] for name, facts in patient.services().items() if facts["restarts"] >= OFTEN}
    return warning(", ".join(f"{name} {number} times" for name, number in found.items())) if found else "none"


def services_switched_off(patient: Patient) -> str | Finding:
    """Has somebody stopped a service that starts with the container?"""
    found = {
        name: facts["desired"]
        for name, facts in patient.services().items()
        if facts["start"] == "boot" and not facts["desired"]["on"] and facts["process"]
    }
    told = "; ".join(f"{name}, by {wish['owner']}: {wish['reason']}" for name, wish in found.items())
    return warning(told) if any(wish["owner"] == "operator" for wish in found.values()) else told or "nobody"


def unwished_ends(patient: Patient) -> str | Finding:
    """Has a service ended by itself during the last day?"""
    found = lastwords.since(patient.where, loglines.stamp(patient.clock() - RECENTLY))
    return warning(f"{len(found)} times, the last time: {found[-1]}") if found else "none"


def web(patient: Patient) -> str:
    """Does MAAS answer on port 5240?"""
    return patient.ask("api")


def region_workers(patient: Patient) -> str:
    """Does every worker of the region answer?"""
    return patient.ask("regiond")


def api_server(patient: Patient) -> str:
    """Does the newer half of the API answer?"""
    return patient.ask("apiserver")


def workflow_engine(patient: Patient) -> str:
    """Does Temporal answer?"""
    return patient.ask("temporal")


def dns_zone(patient: Patient) -> str:
    """Does bind9 answer for the zone of MAAS?"""
    return patient.ask("bind9")


def tftp(patient: Patient) -> str:
    """Can a machine fetch a file over TFTP?"""
    return patient.ask("tftp")


def proxy(patient: Patient) -> str:
    """Does squid pass a request on?"""
    return patient.ask("proxy")


def time_server(patient: Patient) -> str:
    """Does chronyd answer?"""
    return patient.ask("ntp")


def dhcp_server(patient: Patient) -> str:
    """Does dhcpd answer, where MAAS wants it?"""
    return patient.ask("dhcpd")


WHY = "`maas-init why {0}` and `journalctl -u {0}`; `maas-init restart {0}` gives it a new process."

CHECKS: Iterable[Check] = (
    Check(
        listener,
        "Nothing is healed, and the status is old.",
        "`journalctl -u health`; process 1 replaces it within a minute.",
    ),
    Check(first_steps, "MAAS does not start.", "`maas-init why bootstrap`; it is tried again by itself."),
    Check(
        services_answer,
        "What is named does not work; what is critical makes the container unhealthy.",
        "`maas-init why NAME`.",
    ),
    Check(
        services_gave_up,
        "It is tried again only every few minutes.",
        "`maas-init why NAME` shows how it ended; mend that, then `maas-init restart NAME`.",
    ),
    Check(
        services_restarted,
        "It does not run steadily: requests are lost each time.",
        "`maas-init why NAME` shows how it ended.",
    ),
    Check(services_switched_off, "What it does is not done, and nothing revives it.", "`maas-init start NAME`."),
    Check(unwished_ends, "Something is unstable, even if it came back.", "`maas-init why NAME` shows its last words."),
    Check(web, "People, machines and racks do not reach MAAS.", WHY.format("regiond")),
    Check(region_workers, "A part of all requests fails.", WHY.format("regiond")),
    Check(api_server, "Parts of MAAS's pages stay empty.", WHY.format("apiserver")),
    Check(workflow_engine, "No power action, no deployment, no image.", WHY.format("temporal")),
    Check(dns_zone, "Machines cannot resolve each other's names.", WHY.format("bind9")),
    Check(tftp, "Machines cannot fetch their boot loader.", WHY.format("rackd")),
    Check(proxy, "Machines cannot install packages through MAAS.", WHY.format("proxy")),
    Check(time_server, "Machines keep no common time.", WHY.format("ntp")),
    Check(dhcp_server, "Machines get no address.", WHY.format("dhcpd")),
)
