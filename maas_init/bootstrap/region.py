"""MAAS's own settings that come from the environment, set before the region can act on their defaults.

A region that starts with automatic import begins to download images at once; later it could only be stopped. The
shared secret is made by the first region that starts, and all rack controllers must have the same.

What people change in MAAS's pages later stays: a value is set again only when the environment asks for another one
than was last set in this database.
"""

from __future__ import annotations

import json
from typing import Any

from .. import files, log
from ..configure.file import ConfigFile
from ..database import Connection
from ..paths import Paths
from ..settings import RegionSettings, Settings
from . import journal
from .work import RegionWork, Work, tell

CODE = """
import json, sys
from maasserver.models import Config
from maasserver.secrets import SecretManager
wanted = json.load(sys.stdin)
for name, value in wanted["config"].items():
    Config.objects.set_config(name, value)
for name, value in wanted["secrets"].items():
    SecretManager().set_simple_secret(name, value)
"""
"""Given to Django's shell; the values come on standard input, because an argument list is public."""


def apply(work: RegionWork) -> bool:
    """Set what the environment asks for and did not at the last start; return whether anything was set."""
    seeded = seed_secret(work)
    identity = deployment(work.connection)
    last = journal.read(work.paths).get("settings", {})
    known = last.get("applied", {}) if last.get("deployment") == identity else {}
    if last.get("deployment") not in (None, identity):
        forget_certificates(work.paths)
    config, secrets = config_wanted(work.settings), secrets_wanted(work.settings)
    digests = {name: journal.digest(value) for name, value in (config | secrets).items()}
    due = {name for name, digest in digests.items() if known.get(name) != digest}
    if not due:
        return seeded
    tell(work.paths, "settings", "applying settings")
    wanted = {
        "config": {name: value for name, value in config.items() if name in due},
        "secrets": {name: value for name, value in secrets.items() if name in due},
    }
    work.maas.run("django", "shell", "-c", CODE, stdin=json.dumps(wanted))
    journal.note(work.paths, settings={"deployment": identity, "applied": known | digests})
    log.bound(phase="bootstrap").info("settings.applied", names=",".join(sorted(due)))
    return True


def as_applied(settings: RegionSettings, connection: Connection) -> dict[str, Any]:
    """Return the journal's entry that lets the values of MAAS's configuration in this database stay."""
    applied = {name: journal.digest(value) for name, value in config_wanted(settings).items()}
    return {"deployment": deployment(connection), "applied": applied}


def config_wanted(settings: RegionSettings) -> dict[str, Any]:
    """Return values of MAAS's configuration by its own names."""
    return {
        "upstream_dns": " ".join(settings.dns_forwarders),
        "boot_images_auto_import": settings.boot_images_auto_import,
    }


def secrets_wanted(settings: RegionSettings) -> dict[str, str]:
    """Return values for MAAS's secret store by its own names."""
    return {"rpc-shared": settings.region_secret.reveal()} if settings.region_secret else {}


def forget_certificates(paths: Paths) -> None:
    """Remove the certificates that another database had: MAAS writes its own only where there are none."""
    for name in ("cacerts.pem", "cluster.key", "cluster.pem"):
        (paths.maas_data / "certificates" / name).unlink(missing_ok=True)


def deployment(connection: Connection) -> str:
    """Return what stands for the database that settings were applied to: itself, and when its first table was made.

    An upgrade keeps it; a new or emptied database has another one.
    """
    row = connection.execute(
        "SELECT oid::text, (SELECT extract(epoch from min(applied))::text FROM django_migrations)"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return journal.digest(row)


def seed_secret(work: Work) -> bool:
    """Write the file from which the rack controller reads the secret; return whether it changed.

    A region writes the same at its start, but a rack controller that starts first would keep an old one.
    """
    return any(files.write(file.path, file.text, mode=file.mode) for file in planned_secret(work.settings, work.paths))


def planned_secret(settings: Settings, paths: Paths) -> list[ConfigFile]:
    """Return that file, when the settings have a secret."""
    if settings.region_secret is None:
        return []
    return [ConfigFile(paths.maas_secret, settings.region_secret.reveal(), mode=0o640)]
