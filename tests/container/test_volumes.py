"""Volumes that begin empty, and what root left in them."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import Container, docker

pytestmark = pytest.mark.container

VOLUMES = ("/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas")


def empty(*volumes: str) -> list[str]:
    """Return docker's options for a file system without anything over each; a Docker volume would begin as a copy."""
    return [word for volume in volumes for word in ("--tmpfs", f"{volume}:uid=568,gid=568,mode=0755,exec")]


def works(maas: Container) -> None:
    maas.until_healthy()
    assert maas.status()["services"]["api"]["level"] == "ready"
    assert maas.sql("SELECT count(*) FROM auth_user WHERE is_superuser AND username = 'admin'").strip() == "1"


@pytest.mark.parametrize("volumes", [*((volume,) for volume in VOLUMES), VOLUMES], ids="+".join)
def test_maas_comes_up_with_an_empty_volume(new: Run, volumes: tuple[str, ...]) -> None:
    maas = new(*empty(*volumes)).run()
    try:
        works(maas)
    finally:
        maas.remove()


LEFTOVERS = (
    "/etc/maas/left",
    "/var/lib/maas/http/rackd.nginx.conf",
    "/var/lib/maas/dhcpd-interfaces",
    "/var/log/maas/regiond.log",
    "/tmp/maas/left",
)


def test_what_root_left_in_the_volumes_is_taken_over_or_told(new: Run) -> None:
    maas = new().run()
    works(maas)
    for file in LEFTOVERS:
        maas.execute("sh", "-c", f"rm -f {file}; touch {file}", user="0")
    maas.execute("sh", "-c", "touch /etc/maas/secret; chmod 0600 /etc/maas/secret", user="0")
    docker("stop", maas.name)
    before = maas.logs()
    docker("start", maas.name)
    works(maas)
    told = maas.logs().removeprefix(before)
    owners = maas.execute("stat", "--format", "%u %n", *LEFTOVERS).splitlines()
    assert {line.split()[0] for line in owners} == {"568"}, owners
    assert "files.taken_over files=5" in told
    assert "files.foreign files=1 examples=/etc/maas/secret" in told
    assert "chown 568:568" in told


def test_new_container_with_the_same_volumes_is_the_same_deployment(new: Run) -> None:
    first = new().run()
    works(first)
    keys, identity = "/etc/bind/maas/keys.conf.maas", "/var/lib/maas/maas_id"
    before = first.execute("cat", keys, identity)
    zones = first.execute("ls", "/var/lib/bind/maas")
    assert "zone.maas" in zones
    docker("stop", first.name)

    second = new("--volumes-from", first.name).run()
    works(second)
    assert second.execute("cat", keys, identity) == before
    assert set(zones.split()) <= set(second.execute("ls", "/var/lib/bind/maas").split())
    assert "making the keys of bind9" not in second.logs()
    assert second.sql("SELECT count(*) FROM maasserver_node WHERE hostname = 'maas'") == "1\n"
