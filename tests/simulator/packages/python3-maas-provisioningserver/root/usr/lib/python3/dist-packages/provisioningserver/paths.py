"""Where MAAS looks for things, with the environment variables that move them."""

from __future__ import annotations

import os
from pathlib import Path

_environ = os.environ


def root(path: str) -> Path:
    """A path under MAAS_ROOT (default /)."""
    return Path(_environ.get("MAAS_ROOT", "/")) / path.lstrip("/")


def program(path: str) -> str:
    """A program or packaged file under MAAS_PATH (default /)."""
    return str(Path(_environ.get("MAAS_PATH", "/")) / path.lstrip("/"))


def data(path: str = "") -> Path:
    return Path(_environ.get("MAAS_DATA", "/var/lib/maas")) / path


def region_conf() -> Path:
    return Path(_environ.get("MAAS_REGION_CONFIG") or root("/etc/maas/regiond.conf"))


def rack_conf() -> Path:
    return Path(_environ.get("MAAS_CLUSTER_CONFIG") or root("/etc/maas/rackd.conf"))


def agent_conf() -> Path:
    return Path(_environ.get("MAAS_AGENT_CONFIG", "/etc/maas/agent.yaml"))


def cache() -> Path:
    return Path(_environ.get("MAAS_CACHE", "/var/cache/maas"))


def bind(name: str = "") -> Path:
    return Path(_environ.get("MAAS_BIND_CONFIG_DIR") or root("/etc/bind")) / name


def dns(name: str = "") -> Path:
    return Path(_environ.get("MAAS_DNS_CONFIG_DIR") or root("/etc/bind/maas")) / name


def zones(name: str = "") -> Path:
    return Path(_environ.get("MAAS_ZONE_FILE_CONFIG_DIR", "/var/lib/bind/maas")) / name


def http(name: str = "") -> Path:
    return Path(_environ.get("MAAS_HTTP_CONFIG_DIR") or root("/var/lib/maas/http")) / name


def proxy_conf() -> Path:
    return Path(_environ.get("MAAS_PROXY_CONFIG_DIR", "/var/lib/maas")) / "maas-proxy.conf"


def syslog(name: str = "") -> Path:
    return Path(_environ.get("MAAS_SYSLOG_CONFIG_DIR", "/var/lib/maas")) / name


def temporal(name: str = "") -> Path:
    return Path(_environ.get("MAAS_TEMPORAL_CONFIG_DIR") or data("temporal")) / name


def certificates(name: str = "") -> Path:
    where = _environ.get("MAAS_ROOT")
    return (Path(where) if where else Path("/var/lib/maas")) / "certificates" / name


def worker_socket(number: int) -> Path:
    base = _environ.get("MAAS_HTTP_SOCKET_WORKER_BASE_PATH")
    return Path(f"{base or data('maas-regiond-webapp.sock')}.{number}")


def ipc_socket() -> Path:
    return Path(_environ.get("MAAS_IPC_SOCKET_PATH") or data("maas-regiond.sock"))


def apiserver_socket() -> Path:
    name = "MAAS_APISERVER_HTTP_SOCKET_PATH"
    return Path(_environ.get(name) or data("apiserver-http.sock"))


def agent_socket() -> Path:
    """Where nginx looks for the agent; the agent's own path is fixed."""
    name = "MAAS_AGENT_HTTPPROXY_SOCKET_PATH"
    return Path(_environ.get(name, "/run/maas/httpproxy.sock"))


def lock(name: str) -> Path:
    return root("/run/lock") / name
