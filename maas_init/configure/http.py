"""nginx in front of MAAS: the frame around the sites that regiond and rackd write.

MAAS's packages bring such a frame too, but with log files nobody rotates, a change of user and one worker for every
processor of the host.
"""

from __future__ import annotations

from textwrap import dedent

from ..paths import Paths
from .file import ConfigFile


def nginx_conf(where: Paths) -> ConfigFile:
    """Return nginx's main configuration. The sites log their requests to syslog themselves."""
    maas = where.maas_data / "http"
    ours = where.run / "http"
    return ConfigFile(
        ours / "nginx.conf",
        dedent(
            f"""\
            # Written by maas-init at start. MAAS's sites are {maas}/*.nginx.conf.
            pid {where.at("/run/maas-http.pid")};
            worker_processes 2;
            error_log stderr;

            events {{
                worker_connections 768;
            }}

            http {{
                sendfile on;
                tcp_nopush on;
                keepalive_timeout 65;
                types_hash_max_size 2048;
                client_max_body_size 10M;
                include {where.at("/etc/nginx/mime.types")};
                default_type application/octet-stream;
                access_log off;
                gzip on;

                client_body_temp_path {maas}/body;
                proxy_temp_path {maas}/proxy;
                fastcgi_temp_path {maas}/fastcgi;
                scgi_temp_path {maas}/scgi;
                uwsgi_temp_path {maas}/uwsgi;

                # Says that nginx answers, also before MAAS has written a site.
                server {{
                    listen unix:{ours}/alive.sock;
                    return 204;
                }}

                include {maas}/*.nginx.conf;
            }}
            """
        ),
    )
