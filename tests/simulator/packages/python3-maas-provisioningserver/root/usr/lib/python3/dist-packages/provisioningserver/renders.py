"""Configuration text that regiond and rackd write for other daemons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from . import paths

BOOT_RESOURCES = "image-storage"


def squid(networks: Iterable[str], port: int, host: str, peers: Sequence[str] = ()) -> str:
    """maas-proxy.conf. No pid_filename: squid's own default is part of the contract."""
    lines = [
        "# Written by the MAAS simulator; changes are overwritten.",
        "acl maas_proxy_manager proto cache_object",
        "acl localnet src 127.0.0.0/8",
        *(f"acl localnet src {network}" for network in networks),
        "acl SSL_ports port 443",
        "acl Safe_ports port 80 21 443 1025-65535",
        "acl CONNECT method CONNECT",
        "http_access allow maas_proxy_manager localhost",
        "http_access deny maas_proxy_manager",
        "http_access deny !Safe_ports",
        "http_access deny CONNECT !SSL_ports",
        "http_access allow localnet",
        "http_access allow localhost",
        "http_access deny all",
        "http_port 3128 transparent",
        f"http_port {port}",
        r"refresh_pattern -i (/cgi-bin/|\?) 0 0% 0",
        r"refresh_pattern \/(InRelease|Release|Release\.gpg)$ 0 0% 0 refresh-ims",
        "refresh_pattern . 0 20% 4320",
        "forwarded_for delete",
        f"visible_hostname {host}",
        "cache_mem 512 MB",
        "minimum_object_size 0 MB",
        "maximum_object_size 1024 MB",
        "maximum_object_size_in_memory 100 MB",
        "coredump_dir /var/spool/maas-proxy",
        "cache_dir aufs /var/spool/maas-proxy 40000 16 256",
        "cache_log /dev/null",
        "access_log syslog:daemon.debug",
        "cache_store_log syslog:daemon.debug",
    ]
    if peers:
        lines += [f"cache_peer {p} parent 8000 0 no-query default" for p in peers]
        lines += ["never_direct allow all"]
    return "\n".join(lines) + "\n"


def rsyslog(port: int, forwarders: Sequence[str] = (), promtail_port: int = 0) -> str:
    """rsyslog.conf: it drops privileges and writes to the journal, nothing else."""
    folder = paths.syslog("rsyslog")
    forward = "\n".join(
        f'*.* action(type="omfwd" target="{ip}" port="{port}" protocol="tcp" queue.filename="{ip}")'
        for ip in forwarders
    )
    if promtail_port:
        forward += (
            f'\n*.* action(type="omfwd" protocol="tcp" target="localhost"'
            f' port="{promtail_port}" Template="RSYSLOG_SyslogProtocol23Format"'
            ' TCP_Framing="octet-counted" queue.filename="promtail")'
        )
    return f"""\
# Written by the MAAS simulator; changes are overwritten.
module(load="imuxsock" SysSock.Name="{folder}/log.sock")
module(load="imtcp")
input(type="imtcp" port="{port}")
module(load="imudp")
input(type="imudp" port="{port}")
$RepeatedMsgReduction on
$FileOwner maas
$FileGroup maas
$FileCreateMode 0640
$DirCreateMode 0755
$Umask 0022
$PrivDropToUser maas
$PrivDropToGroup maas
$WorkDirectory {folder}
$ActionQueueType LinkedList
$ActionResumeRetryCount -1
$ActionQueueSaveOnShutdown on
module(load="omjournal")
template(name="MAASjournal" type="list") {{
  constant(value="maas-log" outname="SYSLOG_IDENTIFIER")
  property(name="rawmsg-after-pri" outname="MESSAGE")
}}
template(name="MAASremote" type="list") {{
  constant(value="maas-machine" outname="SYSLOG_IDENTIFIER")
  property(name="rawmsg" outname="MESSAGE")
}}
if $syslogtag contains "maas" then {{
  action(type="omjournal" template="MAASjournal")
}} else {{
  action(type="omjournal" template="MAASremote")
}}
:inputname, isequal, "imtcp" stop
{forward}
*.* stop
"""


def chrony_maas(servers: Iterable[str], offset: int) -> str:
    lines = ["# Written by the MAAS simulator.", "hwtimestamp *"]
    for server in servers:
        try:
            ip_address(server)
            lines.append(f"server {server} iburst")
        except ValueError:
            lines.append(f"pool {server} iburst")
    return "\n".join([*lines, f"local stratum {8 + offset} orphan", "allow", ""])


def chrony(existing: str, include: Path) -> str:
    """chrony.conf with its own sources commented out and ours included."""
    kept = []
    for line in existing.splitlines():
        if re.match(r"\s*include\s+.*chrony/maas\.conf\b", line):
            continue
        own = re.match(r"\s*(pool|server)\b", line)
        kept.append(f"# {line.strip()}  # Disabled by MAAS." if own else line)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")
    return f"{text}\n\ninclude {include}\n"


FORWARDED = """\
proxy_http_version 1.1;
proxy_buffering off;
proxy_read_timeout 900s;
proxy_set_header Host $host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $http_host;
"""
RESOURCES = """\
    location ~ ^/MAAS/machine-resources/(.*)$ {
        root /usr/share/maas/machine-resources;
        try_files /$1 =404;
    }
    location ~ ^/MAAS/boot-resources/([^/]+)/?(.*)$ {
        root %s;
        try_files /$1 /$1/$2 =404;
    }
"""


def region_nginx(workers: int, tls_port: int | None = None, certificate: tuple[Path, Path] | None = None) -> str:
    """regiond.nginx.conf: 5240, or with TLS the TLS port and what 5240 keeps."""
    sockets = "\n".join(f"    server unix:{paths.worker_socket(n)};" for n in range(workers))
    images = RESOURCES % paths.data(BOOT_RESOURCES)
    listen = "    listen [::]:5240;\n    listen 5240;\n"
    plain = ""
    if tls_port and certificate:
        kept = "".join(
            f"    location {where} {{ proxy_pass http://regiond-webapp; }}\n"
            for where in (
                "/MAAS/rpc/",
                "/MAAS/metadata/",
                "/MAAS/api/2.0/machines",
                "= /MAAS/maas-run-scripts",
                "/MAAS/images-stream",
            )
        )
        plain = (
            f"server {{\n{listen}{kept}{images}    location /MAAS {{\n"
            f"        return 301 https://$host:{tls_port}$request_uri;\n    }}\n}}\n"
        )
        listen = (
            f"    listen [::]:{tls_port} ssl http2;\n    listen {tls_port} ssl http2;\n"
            f"    ssl_certificate {certificate[1]};\n    ssl_certificate_key {certificate[0]};\n"
            "    ssl_protocols TLSv1.2 TLSv1.3;\n"
        )
    return f"""\
# Written by the MAAS simulator; changes are overwritten.
upstream regiond-webapp {{
{sockets}
}}
upstream apiserver {{
    server unix:{paths.apiserver_socket()};
}}
upstream temporal-metrics {{
    server localhost:9000;
}}
{FORWARDED}
server {{
{listen}    absolute_redirect off;
    location = / {{ return 301 /MAAS/r/; }}
    location ~ ^/MAAS/?$ {{ return 301 /MAAS/r/; }}
    location /MAAS {{ proxy_pass http://regiond-webapp; }}
    location = /MAAS/a/metrics {{ proxy_pass http://apiserver/metrics; }}
    location = /MAAS/a/v2/machines {{ return 404; }}
    location ^~ /MAAS/a/v3/ {{ return 403; }}
    location /MAAS/a/ {{
        rewrite ^/MAAS/a/(.*)$ /api/$1 break;
        proxy_pass http://apiserver;
    }}
    location ~ ^/MAAS/r/(.*)$ {{
        root /usr/share/maas/web/static;
        try_files /$1 /index.html =404;
    }}
    location /metrics/temporal {{ proxy_pass http://temporal-metrics/metrics; }}
{images}}}
{plain}"""


def rack_nginx(regions: Sequence[str]) -> str:
    """rackd.nginx.conf: 5248 for machines that boot."""
    upstream = region = ""
    if regions:
        servers = "\n".join(f"    server {address}:5240;" for address in regions)
        upstream = f"upstream maas-regions {{\n{servers}\n}}\n"
        region = (
            "    location /MAAS/ {\n        proxy_set_header Host $http_host;\n"
            "        proxy_pass http://maas-regions/MAAS/;\n    }\n"
        )
    headers = (
        "        proxy_set_header X-Original-URI $request_uri;\n"
        "        proxy_set_header X-Original-Remote-IP $remote_addr;\n"
    )
    return f"""\
# Written by the MAAS simulator; changes are overwritten.
{upstream}upstream maas-agent-httpproxy {{
    server unix:{paths.agent_socket()};
}}
server {{
    listen [::]:5248;
    listen 5248;
{region}    location /machine-resources/ {{
        root /usr/share/maas;
        autoindex on;
    }}
    location ~ ^/images/([^/]+) {{
        auth_request /log;
        root {paths.data(BOOT_RESOURCES)};
        try_files /$1 @agent;
    }}
    location @agent {{
{headers}        proxy_pass http://maas-agent-httpproxy;
    }}
    location = /log {{
        internal;
        proxy_pass http://localhost:5249/log;
{headers}    }}
    location / {{
        proxy_pass http://localhost:5249/boot/;
        proxy_buffering off;
        proxy_set_header X-Server-Addr $server_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
    }}
}}
"""
