"""A container without a capability says what is missing and runs the rest."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import until

pytestmark = pytest.mark.container


def test_what_lacks_a_capability_is_blocked_with_the_remedy_and_the_rest_runs(new: Run) -> None:
    # As on a host's network, under no-new-privileges: what cap_add gives cannot be raised by a user other than root.
    maas = new(
        *("--security-opt", "no-new-privileges", "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"),
    ).run()
    until(lambda: maas.status()["level"] == "degraded", "degraded")
    until(lambda: maas.status()["services"]["api"]["level"] == "ready", "the region's answer")
    until(lambda: maas.health() == "healthy", "MAAS itself works")

    def rest() -> set[str]:
        return {name for name, each in maas.status()["services"].items() if each["level"] not in ("ready", "off")}

    until(lambda: rest() == {"bind9", "ntp", "tftp"}, "everything else")
    services = maas.status()["services"]
    for name in ("bind9", "ntp", "tftp"):
        assert services[name]["level"] == "blocked", services[name]
        assert "it needs NET_BIND_SERVICE, which this container does not have" in services[name]["because"]
        assert "without no-new-privileges" in services[name]["because"]
    assert services["bind9"]["restarts"] == 0
    assert "spawned: 'bind9'" not in maas.logs(), "it is not even tried"
