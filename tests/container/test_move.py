"""Moving to a database elsewhere, as docs/how-to/external-database.md says: everything is there afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from .api import Api
from .conftest import Run
from .docker import SETTINGS, docker, postgres_beside

pytestmark = pytest.mark.container

ROOM = secrets.token_hex(4)
VOLUMES = {
    f"maas-init-test-{ROOM}-{name}": path
    for name, path in {"config": "/etc/maas", "data": "/var/lib/maas", "logs": "/var/log/maas"}.items()
}
MOUNTED = [word for name, path in VOLUMES.items() for word in ("--volume", f"{name}:{path}")]


@pytest.fixture(scope="module")
def database(image: str, network: str) -> Iterator[str]:
    with postgres_beside(image, network) as server:
        yield server


@pytest.fixture(scope="module")
def volumes() -> Iterator[None]:
    yield
    docker("volume", "rm", "--force", *VOLUMES)


@pytest.mark.usefixtures("volumes")
def test_what_the_embedded_database_held_is_in_the_other_one(image: str, network: str, new: Run, database: str) -> None:
    old = new(*MOUNTED).run()
    old.until_healthy()
    Api(old)("POST", "maas/?op=set_config", name="maas_name", value="moved house")
    old.execute("maas-init", "backup")
    docker("stop", old.name)
    old.remove()

    elsewhere = SETTINGS | {"POSTGRES_HOST": database}
    environ = [word for name, value in elsewhere.items() for word in ("--env", f"{name}={value}")]
    once = ("run", "--rm", "--hostname", "maas", "--network", network, *MOUNTED, *environ, image)
    print(docker(*once, "maas-init", "restore", "latest"))

    maas = new(*MOUNTED, POSTGRES_HOST=database).run()
    maas.until_healthy()
    assert "postgresql" not in maas.status()["services"]
    assert Api(maas)("GET", "maas/?op=get_config&name=maas_name") == "moved house"
