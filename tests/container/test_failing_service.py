"""A service that cannot run makes the container unhealthy, and is named with the reason; mended, all is well again."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import until

pytestmark = pytest.mark.container


def test_a_service_that_fails_for_ever_is_named_until_it_is_mended(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()

    maas.execute("mv", "/usr/sbin/named", "/usr/sbin/named.away", user="0")
    maas.execute("kill", "-9", str(maas.processes()["bind9"]))

    until(lambda: maas.health() == "unhealthy", "unhealthy")
    until(lambda: "bind9 is down: " in maas.health_reason(), "the reason")
    assert "can't find command '/usr/sbin/named'" in maas.execute("maas-init", "why", "bind9")
    assert maas.status()["services"]["regiond"]["level"] == "ready"

    maas.execute("mv", "/usr/sbin/named.away", "/usr/sbin/named", user="0")
    maas.until_healthy()


def test_a_service_that_exits_at_once_is_named_until_it_is_mended(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()

    maas.execute("touch", "/etc/maas-simulator/regiond-exits", user="0")
    maas.execute("kill", "-9", str(maas.processes()["regiond"]))

    until(lambda: maas.health() == "unhealthy", "unhealthy")
    until(lambda: "regiond is down: " in maas.health_reason(), "the reason")

    maas.execute("rm", "/etc/maas-simulator/regiond-exits", user="0")
    maas.until_healthy()


def test_a_region_that_starts_up_for_ever_is_not_healthy(new: Run) -> None:
    maas = new("--volume", "/etc/maas-simulator").run()
    maas.until_healthy()

    maas.execute("touch", "/etc/maas-simulator/regiond-startup-loops", user="0")
    maas.execute("kill", "-9", str(maas.processes()["regiond"]))

    until(lambda: maas.health() == "unhealthy", "unhealthy")
    until(lambda: "regiond" in maas.processes(), "a process that looks up")
    assert "regiond is up: " in maas.health_reason()

    maas.execute("rm", "/etc/maas-simulator/regiond-startup-loops", user="0")
    maas.until_healthy()


def test_a_volume_that_cannot_be_written_is_said(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()

    maas.execute("chmod", "0555", "/var/log/maas", user="0")
    until(lambda: maas.health() == "unhealthy", "unhealthy")
    until(lambda: "cannot write in /var/log/maas: Permission denied" in maas.health_reason(), "the reason")

    maas.execute("chmod", "0755", "/var/log/maas", user="0")
    maas.until_healthy()
