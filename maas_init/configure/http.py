"""nginx in front of MAAS: the frame around the sites that regiond and rackd write, and a page until they do.

MAAS's packages bring such a frame too, but with log files nobody rotates, a change of user and one worker for every
processor of the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent

from .. import privileges, start_page
from ..paths import Paths
from .file import ConfigFile


def files(where: Paths, *, with_region: bool, status_port: int) -> Iterator[ConfigFile]:
    """Yield nginx's main configuration and the first start page; the health listener writes the later ones."""
    yield nginx_conf(where, with_region=with_region, status_port=status_port)
    for name, text in start_page.pages(start_page.FIRST).items():
        yield ConfigFile(where.start_page / name, text, keep_existing=True)


START_PAGE = """
    # Of the sites on a port the first is the default: this one gives way the moment MAAS writes its own.
    server {
        listen [::]:5240;
        listen 5240;
        server_name start-page.invalid;
        location / {
            return 503;
        }
        location /maas-init/ {
        }
    }
"""


STATUS_PAGE = """
    # The health listener writes these files: nothing here asks anybody, and nothing can be changed from here.
    server {{
        listen [::]:{port};
        listen {port};
        server_name status-page.invalid;
        root {pages};
        add_header Cache-Control no-store always;
        add_header X-Content-Type-Options nosniff always;
        add_header Content-Security-Policy "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'" always;
        location = / {{
            try_files /index.html =404;
        }}
        location = /status.json {{
            alias {status};
        }}
        location = /metrics {{
            default_type "text/plain; version=0.0.4; charset=utf-8";
        }}
        location = /favicon.ico {{
            return 204;
        }}
        location / {{
            return 404;
        }}
    }}
"""


def nginx_conf(where: Paths, *, with_region: bool, status_port: int) -> ConfigFile:
    """Return nginx's main configuration. The sites log their requests to syslog themselves."""
    maas = where.maas_data / "http"
    ours = where.run / "http"
    user = "user maas;" if privileges.is_root_as_maas(where) else ""
    return ConfigFile(
        ours / "nginx.conf",
        dedent(
            f"""\
            # Written by maas-init at start. MAAS's sites are {maas}/*.nginx.conf.
            pid {where.at("/run/maas-http.pid")};
            worker_processes 2;
            {user}
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

                # Where MAAS does not answer, the start page does: MAAS's sites inherit this.
                root {where.start_page.parent};
                map $http_accept $start_page {{
                    ~text/html /{where.start_page.name}/starting.html;
                    default /{where.start_page.name}/starting.json;
                }}
                map $uri $retry_after {{
                    ~^/{where.start_page.name}/ 5;
                }}
                map $uri $start_page_lifetime {{
                    ~^/{where.start_page.name}/ no-store;
                }}
                add_header Retry-After $retry_after always;
                add_header Cache-Control $start_page_lifetime always;
                error_page 502 503 504 =503 $start_page;

                include {maas}/*.nginx.conf;
            """
        )
        + (START_PAGE if with_region else "")
        + (STATUS_PAGE.format(port=status_port, status=where.status, pages=where.status_page) if status_port else "")
        + "}\n",
    )
