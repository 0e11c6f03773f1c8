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
from ..settings import SETTING, RegionSettings, Settings
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
if wanted["items"]:
    from django.core.exceptions import ValidationError
    from maasserver.forms.settings import get_config_form
    refused = {}
    for name, text in wanted["items"].items():
        try:
            form = get_config_form(name, {name: text})
            if not form.is_valid():
                raise ValidationError([reason for reasons in form.errors.values() for reason in reasons])
            form.save(None, None)
            if Config.objects.get_config(name) != form.cleaned_data[name]:
                raise ValidationError("it is another one when it is read back")
        except ValidationError as error:
            refused[name] = " ".join(error.messages)
    print("refused: " + json.dumps(refused))
"""
"""Given to Django's shell; the values come on standard input, because an argument list is public. Items go through the
form of MAAS's API, which takes texts and knows what is right."""

REFUSED_REMEDY = (
    "give a name and a value that MAAS knows; it is tried again at the next start, and MAAS runs without it"
)


def apply(work: RegionWork) -> bool:
    """Set what the environment asks for and did not at the last start; return whether anything was set."""
    seeded = seed_secret(work)
    identity = deployment(work.connection)
    last = journal.read(work.paths).get("settings", {})
    known = last.get("applied", {}) if last.get("deployment") == identity else {}
    if last.get("deployment") not in (None, identity):
        forget_certificates(work.paths)
    config, secrets, items = config_wanted(work.settings), secrets_wanted(work.settings), work.settings.maas_settings
    digests = {name: journal.digest(value) for name, value in {**config, **secrets, **items}.items()}
    due = {name for name, digest in digests.items() if known.get(name) != digest}
    if not due:
        return seeded
    tell(work.paths, "settings", "applying settings")
    wanted = {
        "config": {name: value for name, value in config.items() if name in due},
        "secrets": {name: value for name, value in secrets.items() if name in due},
        "items": {name: value for name, value in items.items() if name in due},
    }
    refused = _refused(work.maas.run("django", "shell", "-c", CODE, stdin=json.dumps(wanted)))
    applied = {name: digest for name, digest in digests.items() if name not in refused}
    journal.note(work.paths, settings={"deployment": identity, "applied": known | applied, "refused": refused})
    logger = log.bound(phase="bootstrap")
    for name, reason in refused.items():
        logger.warning("setting.refused", name=f"{SETTING}{name}", reason=reason, remedy=REFUSED_REMEDY)
    logger.info("settings.applied", names=",".join(sorted(due - refused.keys())) or "none")
    return bool(due - refused.keys()) or seeded


def _refused(printed: str) -> dict[str, str]:
    """Return what MAAS would not take, and why."""
    told = [line.removeprefix("refused: ") for line in printed.splitlines() if line.startswith("refused: ")]
    return dict(json.loads(told[-1])) if told else {}


def refused_settings(settings: RegionSettings, paths: Paths) -> dict[str, str]:
    """Return what MAAS did not take at the last start of what is asked for now, by MAAS's names, and why."""
    found = journal.read(paths).get("settings", {}).get("refused", {})
    return {name: reason for name, reason in found.items() if name in settings.maas_settings}


def as_applied(settings: RegionSettings, connection: Connection) -> dict[str, Any]:
    """Return the journal's entry that lets the values of MAAS's configuration in this database stay."""
    wanted = {**config_wanted(settings), **settings.maas_settings}
    applied = {name: journal.digest(value) for name, value in wanted.items()}
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
