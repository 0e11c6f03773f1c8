"""supervisord itself: its socket, our plug-in and the service files of this container."""

from __future__ import annotations

from textwrap import dedent

from ..paths import Paths
from ..services import Catalogue
from .file import ConfigFile


def supervisord_conf(where: Paths, catalogue: Catalogue) -> ConfigFile:
    """Return supervisord's configuration; it prints its own log on standard output, like everything else."""
    included = " ".join(str(file) for file in catalogue.files)
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
            logfile = /dev/null
            logfile_maxbytes = 0
            pidfile = {where.run}/supervisord.pid
            directory = /
            identifier = maas

            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

            [rpcinterface:maas_init]
            supervisor.rpcinterface_factory = maas_init.plugin:make

            [supervisorctl]
            serverurl = unix://{where.supervisor_socket}

            [include]
            files = {included}
            """
        ),
    )
