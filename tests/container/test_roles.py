"""A region and a rack controller, each in a container of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .compose import COMPOSE
from .conftest import Run
from .docker import docker, until

pytestmark = pytest.mark.container

SECRET = "ab" * 16
ROOT = Path(__file__).parents[2]


def test_rack_in_a_container_of_its_own_serves_its_region(new: Run) -> None:
    region = new("--hostname", "region", MAAS_ROLE="region", MAAS_REGION_SECRET=SECRET).run()
    region.until_healthy()
    assert not {"rackd", "agent", "dhcpd"} & set(region.status()["services"])

    url = f"http://{region.address()}:5240/MAAS"
    rack = new("--hostname", "rack", only={"MAAS_ROLE": "rack", "MAAS_REGION_URLS": url, "MAAS_REGION_SECRET": SECRET})
    rack.run().until_healthy()
    services = rack.status()["services"]
    assert not {"regiond", "apiserver", "temporal", "temporal-worker", "postgresql", "database", "api"} & set(services)
    assert services["rackd"]["level"] == "ready"
    assert url in services["region"]["why"]
    rows = "SELECT hostname FROM maasserver_node WHERE node_type IN (2, 4) ORDER BY hostname"
    until(lambda: "rack" in region.sql(rows).split(), "the rack among the region's controllers")
    # rackd writes what some need when it knows its region.
    for_machines = ("bind9", "proxy", "syslog", "ntp", "http")
    until(lambda: {rack.status()["services"][name]["level"] for name in for_machines} == {"ready"}, "all it offers")

    docker("stop", region.name)
    until(lambda: rack.status()["services"]["region"]["level"] == "unwell", "the rack says that its region is gone")
    before = rack.processes()
    docker("start", region.name)
    region.until_healthy()
    rack.until_healthy()
    assert rack.processes().items() >= {"rackd": before["rackd"], "bind9": before["bind9"]}.items()
    docker("stop", rack.name)
    assert rack.inspect(".State.ExitCode") == 0


def test_rack_that_its_region_refuses_is_not_healthy(new: Run) -> None:
    region = new("--hostname", "region", MAAS_ROLE="region", MAAS_REGION_SECRET=SECRET).run()
    region.until_healthy()
    url = f"http://{region.address()}:5240/MAAS"
    only = {"MAAS_ROLE": "rack", "MAAS_REGION_URLS": url, "MAAS_REGION_SECRET": "cd" * 16}
    rack = new("--hostname", "rack", only=only).run()
    until(lambda: rack.status()["services"].get("region", {}).get("level") == "ready", "a region that answers")
    until(lambda: "no connection to a region lasts" in rack.status()["services"]["region-link"]["why"], "the reason")
    until(lambda: rack.status()["level"] == "unhealthy", "unhealthy")
    assert rack.health() != "healthy"


def test_compose_file_of_the_rack_is_understood() -> None:
    command = [*COMPOSE, "--file", str(ROOT / "compose.rack.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
