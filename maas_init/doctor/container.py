"""The container itself: what it was told, what it may do, and what it may use."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterable

from .. import boot, lastwords, privileges
from ..settings import values, variables
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

LEAST_MEMORY = 2 << 30
"""Bytes; region and rack together use less at rest, and more while they import images."""
FULL = 0.9
LEAST_PROCESSES = 512
LEAST_FILES = 4096
LEAST_SHARED_MEMORY = 32 << 20


def settings(patient: Patient) -> str:
    """Can the settings be used?"""
    found = patient.settings
    given, known = values(patient.environ, patient.where)[0], variables(patient.environ)
    return f"role {found.role}; {len(given)} of {len(known)} variables are set"


def user(patient: Patient) -> str | Finding:
    """Is the container's user one that MAAS can run as?"""
    found = patient.privileges
    if found.uid == 0 and found.missing_to_leave_root:
        return warning(f"it is root without {' '.join(map(str.upper, found.missing_to_leave_root))}")
    return f"uid {found.uid}"


def hostname(_patient: Patient) -> str | Finding:
    """Has the container a name that lasts?"""
    name = os.uname().nodename
    return warning(f'"{name}" was made up by Docker for this container alone') if boot.is_made_up(name) else f'"{name}"'


def low_ports(patient: Patient) -> str | Finding:
    """May DNS, TFTP and NTP use their ports below 1024?"""
    if privileges.ports_are_free():
        return "everybody may use ports from 53 on, as on a Docker bridge"
    return _capability(patient, "net_bind_service")


def raw_sockets(patient: Patient) -> str | Finding:
    """May DHCP hear machines that have no address yet, and MAAS look at its networks?"""
    return _capability(patient, "net_raw")


def _capability(patient: Patient, name: str) -> str | Finding:
    having = ", ".join(each.name for each in patient.catalogue.services if name in each.ambient_capabilities)
    lacking = patient.privileges.lacks([name])
    if not lacking:
        return f"{name.upper()} is there, for {having}"
    reason, _, remedy = lacking.partition("; ")
    finding = failure if name == "net_bind_service" else warning
    return finding(f"{having}: {reason}", remedy)


def memory_limit(patient: Patient) -> str | Finding:
    """May the container use as much memory as MAAS needs?"""
    found = lastwords.memory(patient.where)
    if found.limit is None:
        return "no limit"
    told = f"the limit is {found.limit >> 20} MiB"
    return warning(told) if found.limit < LEAST_MEMORY else told


def memory_used(patient: Patient) -> str | Finding:
    """Is memory left of what the container may use?"""
    found = lastwords.memory(patient.where)
    if found.used is None:
        raise NotNow("the control group does not tell")
    used = found.used - found.reclaimable
    told = f"{used >> 20}{f' of {found.limit >> 20}' if found.limit else ''} MiB are used"
    return warning(told) if found.limit and used > found.limit * FULL else told


def memory_killed(patient: Patient) -> str | Finding:
    """Has the kernel killed something for want of memory?"""
    killed = lastwords.memory(patient.where).killed
    if killed is None:
        raise NotNow("the control group does not tell")
    return failure(f"it killed {killed} processes since the container began") if killed else "nothing was killed"


def process_limit(patient: Patient) -> str | Finding:
    """May the container have as many processes and threads as MAAS needs?"""
    group = patient.where.at(lastwords.CONTROL_GROUP)
    for file in (group / "pids.max", group / "pids" / "pids.max"):
        text = file.read_text().strip() if file.exists() else ""
        if text.isdigit():
            return warning(f"the limit is {text}") if int(text) < LEAST_PROCESSES else f"the limit is {text}"
    return "no limit"


def open_files(_patient: Patient) -> str | Finding:
    """May a process open as many files and connections as MAAS needs?"""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return "no limit"
    return warning(f"the limit is {most}") if most < LEAST_FILES else f"the limit is {most}"


def shared_memory(patient: Patient) -> str | Finding:
    """Has the embedded database the shared memory that it needs?"""
    if not patient.region().database.embedded:
        raise NotNow("the database is not in this container")
    size = shutil.disk_usage("/dev/shm").total
    told = f"/dev/shm has {size >> 20} MiB"
    return warning(told) if size < LEAST_SHARED_MEMORY else told


CHECKS: Iterable[Check] = (
    Check(
        settings,
        "The container ends at once with code 78.",
        "Set what is named, in compose.yaml, in .env or with -e; `maas-init settings` lists all there are.",
    ),
    Check(
        user,
        "It cannot become the user of MAAS: everything runs as root, which PostgreSQL refuses.",
        "Start it without a user, or with `--user 568:568`; the image needs no root.",
    ),
    Check(
        hostname,
        "MAAS knows a controller by its name: the next container would be another controller.",
        "Give it one: `--hostname maas`, or `hostname: maas` in compose.yaml.",
    ),
    Check(
        low_ports,
        "What needs such a port is not started; without DNS the container is unhealthy.",
        "`cap_add: [NET_BIND_SERVICE]`.",
    ),
    Check(
        raw_sockets,
        "MAAS cannot serve DHCP from here, and discovers nothing on its networks.",
        "`cap_add: [NET_RAW]`, or let another rack do that.",
    ),
    Check(
        memory_limit,
        "The kernel kills what goes over the limit: most often a worker of the region, or an import of images.",
        "Raise the limit to 2 GiB, better 4 (`--memory 4g`, `mem_limit: 4g`), or take it away.",
    ),
    Check(
        memory_used, "The kernel soon kills something.", "Raise the limit; `maas-init status` tells how fast it grows."
    ),
    Check(
        memory_killed,
        "Services end and come back; requests are lost.",
        "Raise the limit; `maas-init why SERVICE` tells which one it was.",
    ),
    Check(
        process_limit,
        "Services cannot start threads, and fail in ways that name everything but this.",
        "Raise it: `--pids-limit 2048`, or `pids_limit: 2048` in compose.yaml.",
    ),
    Check(
        open_files,
        "Connections are refused when many machines come at once.",
        "Raise it: `--ulimit nofile=65536`.",
    ),
    Check(shared_memory, "PostgreSQL refuses large queries.", "Raise it: `--shm-size 64m`, which is Docker's default."),
)
