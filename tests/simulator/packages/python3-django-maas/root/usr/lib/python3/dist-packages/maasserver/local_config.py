"""What local_config_get, _set and _reset share. The database is not touched."""

from __future__ import annotations

import json
import sys

import yaml
from django.core.management.base import BaseCommand, CommandError

from provisioningserver import config, paths

DUMPS = {
    "json": lambda values: print(json.dumps(values)),
    "yaml": lambda values: yaml.safe_dump(values, sys.stdout, default_flow_style=False),
    "plain": lambda values: [print(value) for value in values.values()],
}


class LocalConfigCommand(BaseCommand):
    requires_system_checks: list = []
    switches = {"action": "store_true"}

    def add_arguments(self, parser) -> None:
        for name in sorted(config.REGION):
            parser.add_argument("--" + name.replace("_", "-"), dest=name, **self.switches)

    def chosen(self, options) -> dict:
        return {n: options[n] for n in sorted(config.REGION) if options[n] not in (None, False)}


class Get(LocalConfigCommand):
    help = "Get local configuration for the MAAS region controller."

    def add_arguments(self, parser) -> None:
        super().add_arguments(parser)
        for name in DUMPS:
            parser.add_argument(f"--{name}", action="store_const", const=name, dest="dump")

    def handle(self, *args, **options) -> None:
        said = config.read(paths.region_conf(), config.REGION)
        DUMPS[options["dump"] or "yaml"]({n: getattr(said, n) for n in self.chosen(options)})


class Set(LocalConfigCommand):
    help = "Set local configuration for the MAAS region controller."
    switches = {"default": None}

    def handle(self, *args, **options) -> None:
        changes = {}
        for name, text in self.chosen(options).items():
            try:
                changes[name] = config.typed(config.REGION, name, text)
            except ValueError as error:
                raise CommandError(f"{name.replace('_', '-')}: {error}.") from error
        if changes:
            config.update(paths.region_conf(), changes)
        else:
            config.touch(paths.region_conf())


class Reset(LocalConfigCommand):
    help = "Reset local configuration for the MAAS region controller."

    def handle(self, *args, **options) -> None:
        config.update(paths.region_conf(), {}, remove=tuple(self.chosen(options)))
