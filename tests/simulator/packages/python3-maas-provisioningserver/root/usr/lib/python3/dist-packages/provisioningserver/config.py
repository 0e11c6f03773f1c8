"""regiond.conf and rackd.conf: flat YAML, defaults for what is not said."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from . import files

REGION: dict[str, Any] = {
    "broadcast_address": "",
    "database_conn_max_age": 300,
    "database_host": "localhost",
    "database_keepalive": True,
    "database_keepalive_count": 2,
    "database_keepalive_idle": 15,
    "database_keepalive_interval": 15,
    "database_name": "maasdb",
    "database_pass": "",
    "database_port": 5432,
    "database_user": "maas",
    "debug": False,
    "debug_http": False,
    "debug_queries": False,
    "maas_url": "http://localhost:5240/MAAS",
    "num_workers": 4,
    "vault_approle_id": "",
    "vault_secret_id": "",
    "vault_secrets_mount": "secret",
    "vault_secrets_path": "",
    "vault_url": "",
}
RACK: dict[str, Any] = {
    "debug": False,
    "httpproxy_cache_size": 20 * 10**9,
    "maas_url": ["http://localhost:5240/MAAS"],
    "max_idle_rpc_connections": 1,
    "max_rpc_connections": 4,
    "rpc_keepalive": 1000,
    "tftp_max_blksize": 8192,
    "tftp_port": 69,
    "tftp_root": "/var/lib/maas/tftp_root",
}


def read(path: Path, defaults: dict[str, Any]) -> SimpleNamespace:
    """The settings in a file; opening it creates it, empty, when it is absent."""
    touch(path)
    said = yaml.safe_load(path.read_text()) or {}
    if not isinstance(said, dict):
        raise ValueError(f"{path} is not a mapping")
    values = {**defaults, **said}
    if isinstance(defaults["maas_url"], list) and isinstance(values["maas_url"], str):
        values["maas_url"] = [values["maas_url"]]
    return SimpleNamespace(**values)


def update(path: Path, changes: dict[str, Any], remove: tuple[str, ...] = ()) -> None:
    """Change some settings; what the file said besides stays. Mode is kept."""
    touch(path)
    said = yaml.safe_load(path.read_text()) or {}
    said.update(changes)
    for name in remove:
        said.pop(name, None)
    text = yaml.safe_dump(said, default_flow_style=False) if said else ""
    files.atomic_write(text, path, mode=path.stat().st_mode & 0o777)


def touch(path: Path) -> None:
    """Create an empty file with mode 0640, also when the caller fails later."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o640))
        path.chmod(0o640)


def typed(defaults: dict[str, Any], name: str, text: str) -> Any:
    """A command-line value in the type of its default."""
    match defaults[name]:
        case bool():
            if text.lower() not in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
                raise ValueError("Value should be True or False")
            return text.lower() in {"true", "yes", "on", "1"}
        case int():
            return int(text)
        case _:
            return text
