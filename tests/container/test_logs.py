"""What people read of a real container: its log, and what is left of an end that nobody wished."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .conftest import Run
from .docker import Container, docker, until

pytestmark = pytest.mark.container

LABELLED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error|critical) +[\w-]+( |$)")


@pytest.fixture(scope="module")
def maas(new: Run) -> Iterator[Container]:
    container = new("--memory", "1500m").run()
    container.until_healthy()
    yield container


def test_every_line_of_the_container_s_log_has_time_level_and_service(maas: Container) -> None:
    lines = maas.logs().splitlines()
    assert not [line for line in lines if not LABELLED.match(line)]
    services = {line.split()[2] for line in lines}
    assert {"maas-init", "supervisord", "health", "bootstrap", "bind9", "proxy", "regiond", "rackd"} <= services


def test_a_killed_service_leaves_last_words(maas: Container) -> None:
    maas.execute("kill", "-9", str(maas.processes()["regiond"]))
    until(lambda: "regiond was killed by SIGKILL " in maas.execute("maas-init", "why", "regiond"), "last words")
    words = maas.execute("maas-init", "why", "regiond")
    assert re.search(r"^memory: \d+ of 1500 MiB used; the kernel killed nothing ", words, re.MULTILINE)
    assert re.search(r" regiond ", words.partition("The last lines:")[2])
    maas.until_healthy()


def test_what_the_kernel_kills_for_want_of_memory_is_said_so(maas: Container) -> None:
    maas.execute(
        "sh", "-c", 'echo 1000 > "/proc/$0/oom_score_adj"', str(maas.processes()["rackd"]), user="0"
    )  # the next to be killed
    before = maas.processes()["rackd"]
    maas.execute("python3", "-c", "x = []\nwhile True: x.append(bytearray(1 << 24))", check=False)
    until(lambda: maas.processes().get("rackd", before) != before, "another rackd")
    until(lambda: "killed by SIGKILL" in maas.execute("maas-init", "why", "rackd"), "last words")
    assert re.search(r"the kernel killed \d+ for want of memory", maas.execute("maas-init", "why", "rackd"))
    maas.until_healthy()


def test_the_end_of_a_container_is_known_to_the_next_life(maas: Container) -> None:
    docker("stop", maas.name)
    last = maas.logs().splitlines()[-3:]
    assert "container.stopped code=0" in last[-1]
    assert "service.ended" in last[-2]
    docker("start", maas.name)
    maas.until_healthy()
    words = maas.execute("maas-init", "why", "container")
    assert "the container ended with code 0 " in words
    assert "regiond was killed by SIGKILL " in words
