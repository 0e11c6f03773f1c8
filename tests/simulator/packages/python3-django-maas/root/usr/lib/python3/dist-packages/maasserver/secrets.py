"""Secrets of the region, in the table maasserver_secret (no Vault here)."""

from __future__ import annotations

from typing import Any

from .models import Secret

SIMPLE_SECRET_KEY = "secret"
GLOBAL_SECRETS = frozenset(
    {
        "external-auth",
        "ipmi-k_g-key",
        "macaroon-key",
        "omapi-key",
        "rpc-shared",
        "maas-ca-certificate",
        "cluster-certificate",
        "tls",
        "vcenter-password",
    }
)
UNSET: Any = object()


class UnknownSecret(Exception):
    def __init__(self, name: str, obj: Any = None) -> None:
        super().__init__(f"Unknown secret '{name}'")


class SecretNotFound(Exception):
    def __init__(self, path: str) -> None:
        super().__init__(f"Secret '{path}' not found")


class SecretManager:
    def __init__(self, vault_client: Any = UNSET) -> None:
        """A Vault is never configured in the simulator."""

    def set_composite_secret(self, name: str, value: dict, obj: Any = None) -> None:
        Secret.objects.update_or_create(path=_path(name, obj), defaults={"value": value})

    def set_simple_secret(self, name: str, value: Any, obj: Any = None) -> None:
        self.set_composite_secret(name, {SIMPLE_SECRET_KEY: value}, obj=obj)

    def delete_secret(self, name: str, obj: Any = None) -> None:
        Secret.objects.filter(path=_path(name, obj)).delete()

    def get_composite_secret(self, name: str, obj: Any = None, default: Any = UNSET) -> Any:
        path = _path(name, obj)
        found = Secret.objects.filter(path=path).first()
        if found:
            return found.value
        if default is UNSET:
            raise SecretNotFound(path)
        return default

    def get_simple_secret(self, name: str, obj: Any = None, default: Any = UNSET) -> Any:
        value = self.get_composite_secret(name, obj=obj, default=default)
        return value[SIMPLE_SECRET_KEY] if isinstance(value, dict) else value


def _path(name: str, obj: Any) -> str:
    if obj is not None or name not in GLOBAL_SECRETS:
        raise UnknownSecret(name, obj)
    return f"global/{name}"
