"""What dpkg says is installed: the source of MAAS's version on deb systems."""

from __future__ import annotations

from pathlib import Path

from . import simulation


def installed_version(*names: str) -> str | None:
    """The version of the first of these packages that is installed."""
    try:
        status = Path(simulation.switch("dpkg-status") or "/var/lib/dpkg/status")
        stanzas = status.read_text(errors="replace").split("\n\n")
    except OSError:
        return None
    for stanza in stanzas:
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields.get("Package") in names and fields.get("Status", "").endswith(" installed"):
            return fields["Version"]
    return None


def maas_version() -> str | None:
    """For example 3.5.13; None when neither controller package is recorded."""
    version = installed_version("maas-region-api", "maas-rack-controller")
    return version.split(":", 1)[-1].split("-", 1)[0] if version else None
