"""Port 5240 shows the start page from the beginning, then MAAS, and never anything else."""

from __future__ import annotations

import http.client
import threading
import time
from itertools import groupby

import pytest

from .conftest import Run
from .docker import Container, docker, until

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


class Watch:
    """Asks 20 times a second while the block lasts."""

    def __init__(self, address: str) -> None:
        self.seen: list[str] = []
        self._address = address
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            self.seen.append(ask(self._address))
            self._end.wait(max(0.0, EVERY - (time.monotonic() - began)))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def watch_start(maas: Container) -> None:
    with Watch(maas.address()) as watch:
        maas.until_healthy()
        while_it_started = [what for what, _ in groupby(watch.seen)]
        assert set(while_it_started) - {"nothing"} == {"page", "MAAS"}
        assert "nothing" not in while_it_started[1:], "from the first answer on there is always one"
        before = len(watch.seen)
        until(lambda: len(watch.seen) > before + 60, "sixty more answers")
        assert set(watch.seen[before + 1 :]) == {"MAAS"}


def test_the_page_gives_way_to_maas_without_a_gap(new: Run) -> None:
    maas = new().run()
    watch_start(maas)

    docker("stop", maas.name)
    docker("start", maas.name)
    watch_start(maas)
