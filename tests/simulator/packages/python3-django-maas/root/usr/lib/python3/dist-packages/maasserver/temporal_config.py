"""production.yaml for temporal-server, written once per start of regiond."""

from __future__ import annotations

import socket
import subprocess
from urllib.parse import urlsplit

import yaml

from provisioningserver import files, paths
from provisioningserver.log import maaslog

from . import config


def write_temporal() -> None:
    said = config.read()
    host, attributes = said.database_host, {}
    if host.startswith("/"):
        attributes["host"] = host
        host = "@"
    attributes["application_name"] = f"maas-temporal-{files.read_if_present(paths.data('maas_id')) or 'NO_ID'}"

    def store(schema: str, connections: int) -> dict:
        return {
            "sql": {
                "user": said.database_user,
                "password": said.database_pass,
                "pluginName": "postgres12",
                "databaseName": said.database_name,
                "connectAddr": f"{host}:{said.database_port}",
                "connectProtocol": "tcp",
                "connectAttributes": {"search_path": schema, **attributes},
                "maxConns": connections,
                "maxIdleConns": connections,
                "maxConnLifetime": "5m",
            }
        }

    certificate = {
        "requireClientAuth": True,
        "certFile": str(paths.certificates("cluster.pem")),
        "keyFile": str(paths.certificates("cluster.key")),
        "clientCaFiles": [str(paths.certificates("cacerts.pem"))],
    }
    client = {"serverName": "maas", "rootCaFiles": [str(paths.certificates("cacerts.pem"))]}
    text = yaml.safe_dump(
        {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "default",
                "visibilityStore": "visibility",
                "numHistoryShards": 4,
                "datastores": {
                    "default": store("temporal", 5),
                    "visibility": store("temporal_visibility", 1),
                },
            },
            "global": {
                "membership": {
                    "maxJoinDuration": "30s",
                    "broadcastAddress": said.broadcast_address or _address(said.maas_url),
                },
                "tls": {name: {"server": certificate, "client": client} for name in ("internode", "frontend")},
                "metrics": {"prometheus": {"listenAddress": "127.0.0.1:9000"}},
            },
            "services": {
                name: {
                    "rpc": {
                        "grpcPort": 5271 + n,
                        "membershipPort": 5281 + n,
                        "bindOnIP": "0.0.0.0",
                    }
                }
                for n, name in enumerate(("frontend", "matching", "history", "worker"))
            },
        }
    )
    paths.temporal().mkdir(parents=True, exist_ok=True)
    files.atomic_write(text, paths.temporal("production.yaml"), mode=0o600)
    dynamic = "system.enableRingpopTLS:\n  - value: true\n"
    files.atomic_write(dynamic, paths.temporal("production-dynamic.yaml"), mode=0o600)


def _address(maas_url: str) -> str:
    """The own address on the way to maas_url."""
    try:
        ip = socket.gethostbyname(urlsplit(maas_url).hostname or "localhost")
        return subprocess.getoutput(f"ip route get {ip}").split("src ")[1].split()[0]
    except (OSError, LookupError) as error:
        maaslog("region").error("Failed to identify broadcast address due to: %s", error)
        return ""
