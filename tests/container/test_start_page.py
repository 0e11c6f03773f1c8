"""Port 5240 shows the start page from the beginning, then MAAS, and never anything else."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest

from .conftest import Run
from .docker import Container, docker

pytestmark = pytest.mark.container

EVERY = 0.05
"""Seconds between two questions."""


def ask(address: str) -> str:
    """Return what a browser sees that asks for MAAS's version: page, MAAS, nothing (no connection), or what else."""
    connection = http.client.HTTPConnection(address, 5240, timeout=60)
    try:
        connection.request("GET", "/MAAS/api/2.0/version/", headers={"Accept": "text/html"})
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError:
        return "nothing"
    finally:
        connection.close()
    if answer.status == 503 and "<h1" in text and answer.getheader("Retry-After"):
        return "page"
    return "MAAS" if answer.status == 200 and '"version"' in text else f"{answer.status} {text}"


@contextmanager
def watched(address: str) -> Iterator[Callable[[], list[str]]]:
    """Ask 20 times a second; the function returns what was seen so far, without repetitions."""
    seen: list[str] = []
    end = threading.Event()

    def watch() -> None:
        while not end.is_set():
            began = time.monotonic()
            seen.append(ask(address))
            end.wait(max(0.0, EVERY - (time.monotonic() - began)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: [what for what, _ in groupby(seen)]
    finally:
        end.set()
        watcher.join()


def watch_start(maas: Container) -> list[str]:
    with watched(maas.address()) as seen:
        maas.until_healthy()
        return seen()


def test_the_page_gives_way_to_maas_without_a_gap(new: Run) -> None:
    maas = new().run()
    assert watch_start(maas) in (["nothing", "page", "MAAS"], ["page", "MAAS"])

    docker("stop", maas.name)
    docker("start", maas.name)
    assert watch_start(maas) in (["nothing", "page", "MAAS"], ["page", "MAAS"]), "the last life's site must not show"
