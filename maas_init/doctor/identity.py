"""What makes this MAAS this one: identity, secrets, configuration, certificates, time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from .. import certificate, commands
from ..bootstrap import configuration, region
from ..errors import CommandFailed
from ..settings import SETTING, Tls
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

SOON = 30
"""Days before its end at which a certificate is mentioned."""
SKEW = 1.0
"""Seconds."""
ITSELF = ("00000000", "7F7F0101")
"""Whom chronyd follows when nobody tells it the time: nobody, or its own clock."""


def maas_id(patient: Patient) -> str | Finding:
    """Does MAAS know again which controller this is?"""
    file = patient.where.maas_id
    found = file.read_text().strip() if file.exists() else ""
    if not found and not patient.where.journal.exists():
        raise NotNow("it is made at the first start")
    if not found and patient.status["services"].get("regiond", {}).get("level") in ("off", "blocked", "up", "down"):
        raise NotNow("the region makes it when it has started")
    if not re.fullmatch("[0-9a-z]{6}", found):
        return failure(f'{file} holds "{found[:20]}"') if found else warning(f"{file} is missing")
    return found


def region_secret(patient: Patient) -> str | Finding:
    """Have region and rack the same secret?"""
    file = patient.where.maas_data / "secret"
    given = patient.told().region_secret
    found = file.read_text().strip() if file.exists() else ""
    if not found:
        raise NotNow("the region makes it at its first start")
    if not re.fullmatch("([0-9A-Fa-f]{2}){16,64}", found):
        return failure(f"{file} does not hold 32 to 128 hexadecimal digits")
    if given and given.reveal() != found.lower():
        return failure(f"{file} and MAAS_REGION_SECRET differ")
    return f"{file} is there{' and is what MAAS_REGION_SECRET says' if given else ''}"


def secret_files(patient: Patient) -> str | Finding:
    """Can only MAAS read the files with secrets?"""
    where = patient.where
    files = (
        *(where.settings, where.regiond_conf, where.rackd_conf, where.maas_data / "secret"),
        where.maas_data / "certificates" / "cluster.key",
    )
    found = [file for file in files if file.exists()]
    open_to_all = [f"{file} ({file.stat().st_mode & 0o777:o})" for file in found if file.stat().st_mode & 0o007]
    return warning(f"everybody may read {', '.join(open_to_all)}") if open_to_all else f"{len(found)} files are private"


def configuration_files(patient: Patient) -> str | Finding:
    """Do MAAS's configuration files say what the settings say?"""
    wanted = configuration.planned(patient.told(), patient.where)
    present = [file for file in wanted if file.path.exists()]
    if not present:
        raise NotNow("they are written at the first start")
    other = [str(file.path) for file in present if file.path.read_text() != file.text]
    return (
        warning(f"{', '.join(other)} would be written anew") if other else ", ".join(str(file.path) for file in present)
    )


def maas_settings(patient: Patient) -> str | Finding:
    """Has MAAS taken what every MAAS_SETTING_... says?"""
    settings = patient.region()
    if not settings.maas_settings:
        raise NotNow("none is set")
    if not patient.where.journal.exists():
        raise NotNow("they are set at the first start")
    refused = region.refused_settings(settings, patient.where)
    told = [f"{SETTING}{name}: {reason}" for name, reason in refused.items()]
    return warning("; ".join(told)) if told else f"{len(settings.maas_settings)} are set"


def tls_certificate(patient: Patient) -> str | Finding:
    """Can the certificate for port 5443 be used, and how long?"""
    tls = patient.region().tls
    if tls is None:
        raise NotNow("TLS is off: MAAS_TLS_CERT_FILE is not set")
    if not certificate.fingerprint(tls):
        return warning(f"{tls.cert} and {tls.key} are not there")
    certificate.examine(tls)
    return _until(tls)


def cluster_certificate(patient: Patient) -> str | Finding:
    """How long is the certificate good with which MAAS's own parts know each other?"""
    directory = patient.where.maas_data / "certificates"
    if not (directory / "cluster.pem").exists():
        raise NotNow("the region makes it at its first start")
    return _until(Tls(directory / "cluster.pem", directory / "cluster.key", None))


def _until(tls: Tls) -> str | Finding:
    left = (certificate.end(tls) - time.time()) / 86400
    told = f"{tls.cert} is good until {certificate.date(certificate.end(tls))} ({int(left)} days)"
    if left < 0:
        return failure(f"{tls.cert} expired on {certificate.date(certificate.end(tls))}")
    return warning(told) if left < SOON else told


def host_clock(patient: Patient) -> str | Finding:
    """Is the clock right, as far as the time servers tell that chronyd asks?"""
    if patient.services().get("ntp", {}).get("level") != "ready":
        raise NotNow("chronyd does not run")
    try:
        told = commands.run("chronyc", "-c", "-h", "127.0.0.1", "tracking", silent_within=5.0)
    except CommandFailed as failed:
        raise NotNow(f"chronyd does not tell: {str(failed).splitlines()[-1].strip()}") from None
    words = told.split(",")
    if len(words) < 5 or words[0] in ITSELF:
        raise NotNow("chronyd has heard of no time server yet: the host's clock is taken as it is")
    skew = float(words[4])
    seen = f"it is {abs(skew):.3f} s {'behind' if skew > 0 else 'ahead of'} {words[1] or words[0]}"
    return warning(seen) if abs(skew) > SKEW else seen


CHECKS: Iterable[Check] = (
    Check(
        maas_id,
        "MAAS takes this container for another controller, or two for one.",
        "Keep the volume of /var/lib/maas; put the file back from a backup of it.",
    ),
    Check(
        region_secret,
        "The region refuses its racks: no DHCP, no TFTP.",
        "Set MAAS_REGION_SECRET of every rack to what the region's /var/lib/maas/secret holds.",
    ),
    Check(
        secret_files,
        "Whoever may look into the volume knows the password of the database, or may pretend to be a rack.",
        "chmod o= the files named.",
    ),
    Check(
        configuration_files,
        "MAAS runs with what the files say, not with what was set.",
        "Restart the container: what maas-init owns in them is brought up to date. `maas-init plan` shows it.",
    ),
    Check(
        maas_settings,
        "MAAS runs with another value.",
        "Give what MAAS knows: `maas USER maas set-config --help` tells. It is tried at each start.",
    ),
    Check(
        tls_certificate,
        "Browsers, racks and machines refuse MAAS when it is over.",
        "Renew it; a new file is used at once.",
    ),
    Check(
        cluster_certificate,
        "Regions and racks refuse each other when it is over.",
        "Remove /var/lib/maas/certificates on every region, one after the other, and restart it.",
    ),
    Check(
        host_clock,
        "Machines get this time from MAAS; certificates and logins fail.",
        "Have the host keep time with NTP: a container cannot set its clock.",
    ),
)
