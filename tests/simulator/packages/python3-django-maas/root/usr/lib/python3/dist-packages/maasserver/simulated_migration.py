"""Migrations that take time and can be made to fail, for progress and kills."""

from __future__ import annotations

import time

from django.db import migrations
from django.db.migrations.operations.base import Operation

from provisioningserver import simulation


class Pause(Operation):
    """Wait inside the migration's transaction: a kill here undoes this one only."""

    reversible = True

    def __init__(self, name: str) -> None:
        self.name = name

    def state_forwards(self, app_label, state) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label, editor, before, after) -> None:
        slow = simulation.number("migration-delay", simulation.number("dbupgrade-delay", 0.0))
        time.sleep(slow)
        if simulation.switch("dbupgrade-fails-at") == f"{app_label}.{self.name}":
            raise RuntimeError(f"simulated failure of {app_label}.{self.name}")

    def database_backwards(self, app_label, editor, before, after) -> None:
        """Nothing was done."""


def step(app: str, name: str, after: str = "", operations=(), needs=()):
    """A migration after another of its app; `needs` are those of other apps."""
    own = [(app, after)] if after else []
    return type(
        "Migration",
        (migrations.Migration,),
        {
            "initial": not after,
            "dependencies": [*own, *needs],
            "operations": [Pause(name), *operations],
        },
    )
