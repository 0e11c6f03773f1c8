"""A form for one setting, as the API uses it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError

from .. import default_settings


class ConfigForm:
    """Checks one text and saves its value."""

    def __init__(self, name: str, data: dict[str, str]) -> None:
        self._name = name
        self._data = data
        self.cleaned_data: dict[str, Any] = {}
        self.errors: dict[str, list[str]] = {}

    def is_valid(self) -> bool:
        try:
            self.cleaned_data = {self._name: default_settings.parse(self._name, self._data.get(self._name, ""))}
        except ValueError as error:
            self.errors = {self._name: [str(error)]}
        return not self.errors

    def save(self, endpoint: Any, request: Any) -> bool:
        """Whoever says no endpoint and no request leaves no audit event."""
        from ..models import Config

        if not self.is_valid():
            return False
        for name, value in self.cleaned_data.items():
            Config.objects.set_config(name, value, endpoint, request)
        return True


def get_config_form(config_name: str, data: dict[str, str] | None = None) -> ConfigForm:
    """A form with one field; ValidationError for a name that is no setting, or none of the API's."""
    if config_name not in default_settings.DEFAULTS or config_name in default_settings.NOT_OVER_THE_API:
        raise ValidationError({config_name: [f"{config_name} is not a valid config setting."]})
    return ConfigForm(config_name, data or {})
