"""The health listener: owns what should run, and says how everything is.

supervisord starts it as an event listener, so its standard output belongs to supervisord's protocol (events.py).
manager.py holds the state and acts; changed_files.py, mourning.py and stopping.py are what it does at certain times.
pebble.py, with serving.py (HTTP), changes.py and plan.py, lets MAAS and people ask for changes; publish.py tells.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from .. import services
from ..configure import service_environment
from ..paths import Paths
from ..settings import Settings
from . import events, pebble
from .manager import Manager


def run(settings: Settings, where: Paths, service_files: Path) -> None:
    """Listen until supervisord ends or everything is stopped."""
    protocol = events.take_stdout()
    catalogue = services.read(service_files, roles=settings.roles, environment=service_environment(settings))
    asyncio.run(_live(Manager(catalogue, settings, where), protocol, where))


async def _live(manager: Manager, protocol: events.Protocol, where: Paths) -> None:
    server = await pebble.serve(where.pebble_socket, manager)
    listening = asyncio.create_task(events.follow(protocol, manager.supervisord_said))
    managing = asyncio.create_task(manager.live())
    done, _ = await asyncio.wait({listening, managing}, return_when=asyncio.FIRST_COMPLETED)
    server.close()
    for task in done:
        task.result()
    # Not by returning: threads may still wait for a probe's answer, and the container's end would wait for them.
    os._exit(0)
