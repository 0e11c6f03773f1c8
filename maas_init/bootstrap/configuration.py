"""regiond.conf and rackd.conf: our keys are merged into what is there; all others are the operator's or MAAS's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import database, files, log
from ..configure.file import ConfigFile
from ..errors import MaasInitError
from ..paths import Paths
from ..settings import RegionSettings, Settings
from .work import Work

OWN_REGION = "http://localhost:5240/MAAS"
"""How a rack controller reaches the region of its own container: without leaving it, as in MAAS's own snap. The
public address may not lead back inside, and the agent would look there for Temporal, which is not published."""


def write(work: Work) -> bool:
    """Bring this role's files up to date; return whether one changed. Raises MaasInitError when one is not YAML."""
    changed = [
        file.path for file in planned(work.settings, work.paths) if files.write(file.path, file.text, mode=file.mode)
    ]
    for path in changed:
        log.bound(phase="bootstrap").info("configuration.written", path=os.fspath(path))
    return bool(changed)


def planned(settings: Settings, paths: Paths) -> list[ConfigFile]:
    """Return this role's files as they should be. Raises MaasInitError when one that is there is not YAML."""
    wanted: dict[Path, dict[str, Any]] = {}
    if isinstance(settings, RegionSettings):
        wanted[paths.regiond_conf] = for_region(settings, paths, load(paths.regiond_conf))
    if "rack" in settings.roles:
        wanted[paths.rackd_conf] = for_rack(settings)
    return [ConfigFile(path, merged(_read(path), load(path), keys), mode=0o640) for path, keys in wanted.items()]


def for_region(settings: RegionSettings, paths: Paths, present: Mapping[str, Any]) -> dict[str, Any]:
    """Return our keys of regiond.conf, given what it holds.

    When MAAS has moved the database credentials to Vault it leaves them blank in the file, and takes their presence
    as the wish to move them back (maasserver/start_up.py): then they stay as they are.
    """
    wanted = {
        "maas_url": settings.maas_url.text,
        "database_host": database.host(settings.database, paths),
        "database_port": settings.database.port,
        "debug": settings.debug,
    }
    if uses_vault(present) and present.get("database_name") == "":
        return wanted
    credentials = {
        "database_name": settings.database.name,
        "database_user": settings.database.user,
        "database_pass": settings.database.password.reveal(),
    }
    return wanted | credentials


def for_rack(settings: Settings) -> dict[str, Any]:
    """Return our keys of rackd.conf."""
    own = isinstance(settings, RegionSettings)
    return {"maas_url": [OWN_REGION] if own else [url.text for url in settings.region_urls], "debug": settings.debug}


def uses_vault(present: Mapping[str, Any]) -> bool:
    """Return whether MAAS would ask Vault, by its own rule: all three are given."""
    return all(present.get(key) for key in ("vault_url", "vault_approle_id", "vault_secret_id"))


def merged(text: str, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the text of a file that held `text`, meaning `present`, and shall hold `wanted` too.

    If it does already, the text is kept with its comments; else it is the flat, sorted YAML that MAAS writes.
    """
    complete = {**present, **wanted}
    return text if complete == present else dump(complete)


def dump(values: Mapping[str, Any]) -> str:
    """Return YAML exactly as MAAS writes it, so that neither rewrites the other's file for nothing."""
    return yaml.safe_dump(dict(values), default_flow_style=False)


def load(path: Path) -> dict[str, Any]:
    """Return what a configuration file holds; nothing when it is missing or empty.

    Raises MaasInitError when it is not a YAML mapping; what it holds is not quoted, because it may be secret.
    """
    try:
        found = yaml.safe_load(_read(path))
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _unusable(path, f"it is not YAML: {error.problem}{line}") from None
    except (yaml.YAMLError, ValueError):
        raise _unusable(path, "it is not YAML") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _unusable(path, "it does not hold names and values")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except ValueError:
        raise _unusable(path, "it is not UTF-8 text") from None
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from error


def _unusable(path: Path, reason: str) -> MaasInitError:
    return MaasInitError(
        f"cannot use {path}: {reason}",
        hint="mend the file, or remove it to have a new one written; it was left as it is",
    )
