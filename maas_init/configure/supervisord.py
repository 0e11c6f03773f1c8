"""supervisord itself: its socket, our plug-in and the service files of this container."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from .. import privileges
from ..paths import Paths
from ..services import Catalogue
from ..settings import RegionSettings, Settings
from .file import ConfigFile

LISTENER = "health"
"""Its section in supervisord.conf.d/health.conf; it is no service itself."""


def supervisord_conf(where: Paths, catalogue: Catalogue, settings: Settings) -> ConfigFile:
    """Return supervisord's configuration. It is silent because our plug-in prints its log, labelled like the others.

    How to reach the database with TLS, for which MAAS's configuration has no place, and who user maas is, are in every
    service's environment; in supervisord's own the latter would be lost on its way through setpriv.
    """
    tls = settings.database.tls_environment(where) if isinstance(settings, RegionSettings) else {}
    for_all = ",".join(f'{name}="{value}"' for name, value in {**tls, **privileges.names(where)}.items())
    included = " ".join(str(file) for file in catalogue.files)
    given = {service.name: service.ambient_capabilities for service in catalogue.services}
    # The listener looks into the processes of others, and the kernel lets nobody who may do less than they.
    given[LISTENER] = tuple(sorted({name for names in given.values() for name in names}))
    passed = {service.name: service.pass_environment for service in catalogue.services}
    return ConfigFile(
        where.supervisord_conf,
        dedent(
            f"""\
            ; Written by maas-init at start.
            [unix_http_server]
            file = {where.supervisor_socket}
            chmod = 0700

            [supervisord]
            nodaemon = true
            silent = true
            logfile = {where.run}/supervisord.log
            logfile_maxbytes = 1MB
            logfile_backups = 1
            pidfile = {where.run}/supervisord.pid
            directory = /
            ; A child tries to close so many descriptors one by one. They close themselves: Python sees to that.
            minfds = 64
            identifier = maas
            environment = {for_all}

            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = maas_init.plugin:operators

            [rpcinterface:maas_init]
            supervisor.rpcinterface_factory = maas_init.plugin:make
            log_format = {settings.log_format}
            masks = {where.masks}
            shared_secret = {where.maas_secret}
            ambient_capabilities = {_words(given)}
            pass_environment = {_words(passed)}

            [supervisorctl]
            serverurl = unix://{where.supervisor_socket}

            [include]
            files = {included}
            """
        ),
    )


def _words(given: Mapping[str, tuple[str, ...]]) -> str:
    """Return what the plug-in reads: `NAME:this,that` for each service that is given something."""
    return " ".join(f"{name}:{','.join(what)}" for name, what in given.items() if what)
