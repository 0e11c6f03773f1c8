"""Configure: settings become files. Everything is worked out before the first byte is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .. import files, log, ports
from ..paths import Paths
from ..services import Catalogue
from ..settings import RegionSettings, Settings, values
from . import http, ntp, proxy, supervisord, syslog, tftp, users
from .file import ConfigFile


def everything(settings: Settings, where: Paths, environ: Mapping[str, str], catalogue: Catalogue) -> list[Path]:
    """Write every file that supervisord and the daemons start from; return those that changed."""
    changed = write(planned(settings, where, environ, catalogue))
    if isinstance(settings, RegionSettings) and settings.maas_url.is_local:
        log.warning(
            "maas_url.local",
            maas_url=settings.maas_url.text,
            reason="no machine but this one can reach it, so none can boot from here",
            remedy="set MAAS_URL to the address of this host as machines see it",
        )
    return changed


def planned(settings: Settings, where: Paths, environ: Mapping[str, str], catalogue: Catalogue) -> list[ConfigFile]:
    """Return these files."""
    # Bootstrap and the listener read the same texts as we did: they may lie in files that only PID 1 was given.
    told = ConfigFile(where.settings, files.as_json(values(environ, where)[0]), mode=0o600)
    return [
        told,
        ConfigFile(where.masks, json.dumps(settings.secrets()), mode=0o600),
        *postgresql_tls(settings, where),
        *users.names(where),
        supervisord.supervisord_conf(where, catalogue, settings),
        *http.files(where, with_region="region" in settings.roles, status_port=_unless_taken(settings.status_port)),
        *ntp.chrony_conf(where),
        proxy.squid_conf(where),
        syslog.rsyslog_conf(where),
        tftp.question(where),
    ]


def _unless_taken(port: int) -> int:
    """Return the port, or 0 when somebody outside this container has it: nginx would not start, and MAAS not answer."""
    held = ports.holder([("tcp", "", port)], 0) if port else None
    if held is None or held.pid:
        return port
    log.warning("status_page.port_taken", port=port, by=str(held), remedy="set MAAS_INIT_STATUS_PORT to a free port")
    return 0


def postgresql_tls(settings: Settings, where: Paths) -> Iterator[ConfigFile]:
    """Yield certificates and key as files that PostgreSQL's library takes: it refuses a key that others can read."""
    if isinstance(settings, RegionSettings):
        for path, text in settings.database.tls_files(where).values():
            yield ConfigFile(path, text, mode=0o600)


def write(planned: Iterable[ConfigFile]) -> list[Path]:
    """Write what differs; return it."""
    considered = [*planned]
    wanted = [file for file in considered if not (file.keep_existing and file.path.exists())]
    changed = [file.path for file in wanted if files.write(file.path, file.text, mode=file.mode, sync=False)]
    log.info("configuration.written", files=len(considered), changed=len(changed))
    return changed
