"""Settings in the database: Config.objects.get_config and set_config."""

from __future__ import annotations

import copy
from typing import Any

from django.db import models

from maasserver.default_settings import DEFAULTS, SECRETS


class ConfigManager(models.Manager):
    def get_config(self, name: str, default: Any = None) -> Any:
        """A setting, or its default; for an unknown name the given default."""
        from maasserver.secrets import SecretManager

        fallback = copy.deepcopy(DEFAULTS.get(name, default))
        if name in SECRETS:
            return SecretManager().get_simple_secret(SECRETS[name], default=fallback)
        found = self.filter(name=name).first()
        return found.value if found else fallback

    def get_configs(self, names) -> dict[str, Any]:
        return {name: self.get_config(name) for name in names}

    def set_config(self, name: str, value: Any, endpoint=None, request=None) -> None:
        """Any name is accepted here; the API is stricter."""
        from maasserver.secrets import SecretManager

        if name in SECRETS:
            SecretManager().set_simple_secret(SECRETS[name], value)
        else:
            self.update_or_create(name=name, defaults={"value": value})


class Config(models.Model):
    name = models.CharField(max_length=255, unique=True)
    value = models.JSONField(null=True)

    objects = ConfigManager()
