"""What every step is given: the settings, a connection, and MAAS's own commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .. import commands, files, privileges
from ..database import Connection
from ..errors import CommandFailed
from ..masks import Masks
from ..paths import Paths
from ..settings import RegionSettings, Settings

PYTHON = "/usr/bin/python3"
"""The distribution's interpreter, which sees MAAS's modules; ours does not."""


MARK = "MAAS_INIT_BOOTSTRAP"
"""In the environment of every command of MAAS that we run and of what those run: so a successor knows them."""


def mark(paths: Paths) -> str:
    """Return what tells this container's commands from those of others, which may be seen as well."""
    here = paths.run.stat()
    return f"{here.st_dev}:{here.st_ino}"


@dataclass(frozen=True)
class Maas:
    """MAAS's commands, one layer below maas-region and maas-rack, which refuse any user but root."""

    settings: Settings
    paths: Paths
    python: str

    def run(
        self,
        module: str,
        *arguments: str,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = lambda _: None,
        silent_within: float = 600.0,
    ) -> str:
        """Run a command of `django` (the region's) or `provisioningserver`; return what it printed.

        Raises CommandFailed, whose text holds no secret.
        """
        argv = (self.python, "-m", module, *arguments)
        environ = self._environment() | dict(environ or {})
        try:
            return commands.run(*argv, stdin=stdin, environ=environ, on_line=on_line, silent_within=silent_within)
        except CommandFailed as failure:
            # A traceback may show any value. The first line is our own command line, which never holds a secret.
            kind, (first, *rest) = type(failure), str(failure).split("\n")
        # Outside `except`, so that the unmasked failure is not told as this one's context.
        raise kind("\n".join([first, *map(Masks(self.settings.secrets()).hide, rest)]))

    def _environment(self) -> dict[str, str]:
        """Return what commands see: what MAAS's units give them, and nothing that a shell may have brought."""
        return {
            **self.paths.environment(),
            **privileges.names(self.paths),
            MARK: mark(self.paths),
            "PYTHONUNBUFFERED": "1",  # progress comes line by line
            "DJANGO_SETTINGS_MODULE": "maasserver.djangosettings.settings",
            "MAAS_REGION_CONFIG": os.fspath(self.paths.regiond_conf),
            **(self.settings.database.tls_environment(self.paths) if isinstance(self.settings, RegionSettings) else {}),
        }


@dataclass(frozen=True)
class Work:
    """What a step needs."""

    settings: Settings
    paths: Paths
    maas: Maas


@dataclass(frozen=True)
class RegionWork(Work):
    """What a step needs that prepares a region."""

    settings: RegionSettings
    connection: Connection


def tell(paths: Paths, step: str, summary: str, *, done: int = 0, total: int = 0) -> None:
    """Say in the progress file what is going on, for the listener; `at_uptime` is in seconds since the host booted.

    `total` is 0 where it is not known.
    """
    now = round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)
    told = {"step": step, "summary": summary, "done": done, "total": total, "at_uptime": now}
    files.write_json(paths.progress, told, sync=False)
