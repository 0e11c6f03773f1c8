"""Volumes that begin empty, what root left in them, and datasets with access control lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run
from .docker import Container, docker, postgres_beside, until

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


Preloaded = Callable[[str], tuple[str, ...]]


@pytest.fixture
def dataset(new: Run, preloaded: Preloaded, tmp_path: Path) -> Callable[..., Container]:
    """Start a container on volumes that inherit a list of access; changing modes works, is ignored or is refused."""

    def start(modes: str, **settings: str) -> Container:
        (said := tmp_path / "dataset").write_text(modes)
        return new(*preloaded("acl_dataset.c"), "--volume", f"{said}:/etc/dataset:ro", **settings).run()

    return start


def modes(maas: Container, *paths: str) -> list[str]:
    return maas.execute("stat", "-c", "%a", *paths, user="0").split()


def test_database_is_at_home_on_a_dataset_with_an_access_control_list(dataset: Callable[..., Container]) -> None:
    maas = dataset("works")
    works(maas)
    (data,) = maas.execute("sh", "-c", "ls -d /var/lib/maas/postgresql/[0-9]*").split()
    assert modes(maas, f"{data}/base", "/etc/maas/regiond.conf") == ["770", "640"], "made so, and changed"
    assert modes(maas, data) == ["700"]
    # As after `chmod -R 770` on the host.
    maas.execute("chmod", "770", data, user="0")
    maas.execute("supervisorctl", "restart", "postgresql")
    works(maas)
    assert modes(maas, data) == ["700"]
    maas.remove()


def test_maas_works_where_changing_modes_has_no_effect(
    dataset: Callable[..., Container], image: str, network: str
) -> None:
    with postgres_beside(image, network) as server:
        maas = dataset("ignored", POSTGRES_HOST=server)
        maas.until_healthy()
        assert modes(maas, "/etc/maas/regiond.conf") == ["770"]
        assert "volume.modes_refused" not in maas.logs()
        maas.remove()


@pytest.mark.parametrize("changing", ["ignored", "refused"])
def test_database_that_cannot_be_protected_is_told(dataset: Callable[..., Container], changing: str) -> None:
    maas = dataset(changing)
    until(lambda: maas.status()["services"].get("postgresql", {}).get("restarts", 0) > 0, "another try")
    assert "others may use it (mode 770)" in maas.execute("maas-init", "why", "postgresql")
    assert "ACL Mode: Passthrough" in maas.execute("maas-init", "why", "postgresql")
    assert ("volume.modes_refused" in maas.logs()) == (changing == "refused")
    told = maas.execute("maas-init", "doctor", check=False)
    assert ("not in /etc/maas, /var/lib/maas, /var/log/maas, /tmp/maas" in told) == (changing == "refused"), told
    maas.remove()
