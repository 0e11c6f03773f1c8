"""The health listener: owns what should run, and says how everything is.

supervisord starts it as an event listener, so its standard output belongs to supervisord's protocol (events.py).
manager.py holds the state and acts; changed_files.py, mourning.py and stopping.py are what it does at certain times.
pebble.py, with serving.py (HTTP), changes.py and plan.py, lets MAAS and people ask for changes; publish.py tells.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .. import log, services
from ..paths import Paths
from ..settings import Settings
from . import events
from .manager import Manager

if TYPE_CHECKING:
    from . import pebble


def run(settings: Settings, where: Paths, service_files: tuple[Path, ...]) -> None:
    """Listen until supervisord ends or everything is stopped."""
    protocol = events.take_stdout()
    log.use("console", settings.secrets())  # supervisord's part gives lines their form
    catalogue = services.catalogue(settings, *service_files)
    asyncio.run(_live(Manager(catalogue, settings, where), protocol, where))


async def _live(manager: Manager, protocol: events.Protocol, where: Paths) -> None:
    server = await _serve(where.pebble_socket, manager)
    listening = asyncio.create_task(events.follow(protocol, manager.supervisord_said))
    managing = asyncio.create_task(manager.live())
    done, _ = await asyncio.wait({listening, managing}, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    for task in done:
        task.result()
    # Not by returning: threads may still wait for a probe's answer, and the container's end would wait for them.
    os._exit(0)


async def _serve(path: Path, manager: Manager) -> asyncio.AbstractServer:
    """Listen on the Pebble socket; every connection is served on its own.

    What understands the clients is loaded for the first of them: nothing else is to wait for it.
    """
    api: list[pebble.Api] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        module = await asyncio.to_thread(importlib.import_module, f"{__name__}.pebble")
        if not api:
            api.append(module.Api(manager))
        await api[0].converse(reader, writer)

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(connected, path)
    path.chmod(0o600)
    return server
