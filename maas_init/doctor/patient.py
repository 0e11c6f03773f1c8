"""Whom the doctor looks at: this container, running or not, and what is known of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from .. import database, files, probes, services
from ..database import CannotUse, Connection
from ..errors import MaasInitError, SettingsError
from ..paths import Paths
from ..privileges import Privileges
from ..services import Catalogue
from ..settings import RegionSettings, Settings


class NotNow(Exception):
    """The question cannot be asked, and why."""


@dataclass
class Patient:
    """Facts about the container, each looked at once."""

    where: Paths
    environ: Mapping[str, str]
    """That of the command: the container's own."""
    service_files: tuple[Path, ...]
    may_ask_for_dhcp: bool = False
    clock: Callable[[], float] = field(default=time.time)

    @cached_property
    def running(self) -> bool:
        """Whether MAAS was started in this container; it may be unwell, or not be ready yet."""
        return self.where.supervisor_socket.exists()

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the health listener says; without anything before it does."""
        found = files.read_json(self.where.status) if self.running else None
        return found or {"level": "", "summary": "", "uptime": 0.0, "services": {}}

    @cached_property
    def settings(self) -> Settings:
        """Those that are in force, or that a start would use. Raises SettingsError."""
        if self.where.settings.exists():
            return Settings.load(self.where.settings)
        return Settings.from_environ(self.environ, self.where)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The services of this container; while its role is not known, all of them. Raises ServiceFileError."""
        try:
            return services.catalogue(self.settings, *self.service_files)
        except SettingsError:
            return services.read(*self.service_files, roles=services.ROLES, environment={})

    @cached_property
    def privileges(self) -> Privileges:
        """What services may do, or may do when they are started."""
        try:
            pid = int((self.where.run / "supervisord.pid").read_text())
            return Privileges.look(Path(f"/proc/{pid}/status"))
        except (OSError, ValueError):
            return Privileges.look()

    @property
    def connection(self) -> Connection:
        """A connection to MAAS's database. Raises CannotUse, and NotNow where there is none to ask."""
        if isinstance(self._attempt, CannotUse):
            raise self._attempt
        return self._attempt

    @cached_property
    def _attempt(self) -> Connection | CannotUse:
        """What came of the one attempt to connect: another one may take as long."""
        region = self.region()
        if region.database.embedded and not self.running:
            raise NotNow("not running: the database is inside this container")
        first_steps = self.status["services"].get("bootstrap", {"level": "", "failed": 0})
        if region.database.embedded and first_steps["level"] != "ready" and not first_steps["failed"]:
            raise NotNow("not yet: it is being made")
        try:
            return database.connect(region.database, self.where, within=5.0)
        except CannotUse as failure:
            return failure

    def close(self) -> None:
        """End the connection to the database, if there is one."""
        attempt = self.__dict__.pop("_attempt", None)
        if isinstance(attempt, psycopg.Connection):
            attempt.close()

    def usable(self) -> Connection:
        """Return the connection for questions that come after `database-reachable`. Raises NotNow without one."""
        try:
            return self.connection
        except CannotUse:
            raise NotNow("the database cannot be reached: see database-reachable") from None

    def told(self) -> Settings:
        """Return the settings. Raises NotNow when they cannot be used."""
        try:
            return self.settings
        except SettingsError:
            raise NotNow("the settings cannot be used: see settings") from None

    def region(self) -> RegionSettings:
        """Return the settings of the region. Raises NotNow without one."""
        found = self.told()
        if not isinstance(found, RegionSettings):
            raise NotNow("this container has no region controller")
        return found

    def rack(self) -> Settings:
        """Return the settings of a container with a rack controller. Raises NotNow without one."""
        found = self.told()
        if "rack" not in found.roles:
            raise NotNow("this container has no rack controller")
        return found

    def services(self) -> dict[str, Any]:
        """Return what the health listener says of each service. Raises NotNow before it says anything."""
        if not self.running:
            raise NotNow("not running")
        if not self.status["services"]:
            raise NotNow("the health listener has said nothing yet")
        return dict(self.status["services"])

    def ask(self, name: str) -> str:
        """Ask a service, or what is only watched, as the health listener does; return its answer.

        Raises NotNow when it is not meant to answer, and MaasInitError when it should and does not.
        """
        if name not in self.catalogue:
            raise NotNow("not part of this container")
        found = self.services().get(name, {"level": "off", "because": ""})
        if found["level"] in ("off", "blocked", "up"):
            raise NotNow(f"it is {found['level']}: {found['because']}".rstrip(": "))
        check = self.catalogue[name].check
        assert check is not None, name
        question = probes.Question(check.arguments, check.within, found["pid"] or 0)
        result = asyncio.run(probes.run(probes.probes(self.told(), self.where)[check.kind], check.kind, question))
        if not result.ok:
            raise MaasInitError(result.detail)
        return result.detail
