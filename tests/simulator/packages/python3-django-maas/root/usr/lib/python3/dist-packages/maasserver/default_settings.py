"""Settings with their defaults, and which of them the API lets one change."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

SECRETS = {
    "rpc_shared_secret": "rpc-shared",
    "omapi_key": "omapi-key",
    "maas_auto_ipmi_k_g_bmc_key": "ipmi-k_g-key",
    "vcenter_password": "vcenter-password",
}
DEFAULTS: dict[str, Any] = {
    "active_discovery_interval": 10800,
    "auto_vlan_creation": True,
    "boot_images_auto_import": True,
    "boot_images_no_proxy": False,
    "commissioning_distro_series": "jammy",
    "completed_intro": False,
    "default_dns_ttl": 30,
    "default_osystem": "ubuntu",
    "dns_trusted_acl": None,
    "dnssec_validation": "auto",
    "enable_analytics": True,
    "enable_http_proxy": True,
    "http_proxy": None,
    "kernel_opts": None,
    "maas_internal_domain": "maas-internal",
    "maas_name": socket.gethostname(),
    "maas_proxy_port": 8000,
    "maas_syslog_port": 5247,
    "maas_url": "http://localhost:5240/MAAS",
    "network_discovery": "enabled",
    "node_timeout": 30,
    "ntp_external_only": False,
    "ntp_servers": "ntp.ubuntu.com",
    "omapi_key": "",
    "prefer_v4_proxy": False,
    "prometheus_enabled": False,
    "promtail_enabled": False,
    "promtail_port": 5238,
    "release_notifications": True,
    "remote_syslog": None,
    "rpc_shared_secret": None,
    "session_length": 1209600,
    "theme": "",
    "tls_port": None,
    "upstream_dns": None,
    "use_peer_proxy": False,
    "use_rack_proxy": True,
    "uuid": None,
    "vault_enabled": False,
}
NOT_OVER_THE_API = {"maas_url", "tls_port", "uuid", "vault_enabled", *SECRETS}
CHOICES = {
    "dnssec_validation": ("auto", "yes", "no"),
    "network_discovery": ("enabled", "disabled"),
}


def parse(name: str, text: str) -> Any:
    """A value as the API gets it, in its type; ValueError says what is wrong."""
    if name not in DEFAULTS or name in NOT_OVER_THE_API:
        raise KeyError(name)
    if name in CHOICES and text not in CHOICES[name]:
        raise ValueError(f"'{text}' is not a valid choice: {', '.join(CHOICES[name])}")
    if isinstance(DEFAULTS[name], bool):
        return text.strip().lower() in {"true", "on", "1", "yes", "t"}
    if name == "upstream_dns":
        return " ".join(str(ip_address(part)) for part in text.replace(",", " ").split())
    if name == "http_proxy" and text and urlsplit(text).scheme not in {"http", "https"}:
        raise ValueError("Enter a valid URL.")
    if isinstance(DEFAULTS[name], int):
        number = int(text)
        if name in {"maas_proxy_port", "maas_syslog_port", "promtail_port"}:
            _check_port(name, number)
        return number
    return text


def _check_port(name: str, port: int) -> None:
    own = range(5240, 5271)
    if not 1024 <= port <= 65535:
        raise ValueError("Unable to change port number: it is outside 1024-65535.")
    free = name == "promtail_port" or (name, port) == ("maas_syslog_port", 5247)
    if port in own and not free:
        raise ValueError("Unable to change port number: it is reserved for MAAS.")
