"""Fixtures of the container tests: an image, a network with no way out, containers that are removed."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from . import docker
from .docker import Container

Run = Callable[..., Container]

LONGEST = (
    "test_documented",
    "test_healing",
    "test_upgrade",
    "test_roles",
    "test_first_light",
    "test_wishes",
    "test_matrix",
)
"""Files that take minutes: begun first, or one of them would go on alone when all others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = len(LONGEST)
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else last)


@pytest.fixture(scope="session")
def image() -> str:
    return docker.image()


@pytest.fixture(scope="session")
def network() -> Iterator[str]:
    """A bridge without masquerading: name servers and clocks of the world are out of reach."""
    name = f"maas-init-test-{secrets.token_hex(4)}"
    docker.docker("network", "create", "-o", "com.docker.network.bridge.enable_ip_masquerade=false", name)
    yield name
    docker.docker("network", "rm", name, check=False)


@pytest.fixture(scope="module")
def new(image: str, network: str) -> Iterator[Run]:
    """Make containers of the image; they are removed at the end of the module."""
    made: list[Container] = []

    def make(*options: str, only: Mapping[str, str] | None = None, **settings: str) -> Container:
        """`settings` come on top of those of any container, `only` in their place."""
        container = Container(image, network, docker.SETTINGS | settings if only is None else dict(only), options)
        made.append(container)
        return container

    yield make
    for container in made:
        container.remove()


@pytest.fixture
def preloaded(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Compile a library of this directory; give docker's options for loading it into each program of a container."""

    def make(source: str) -> tuple[str, ...]:
        library, preload = tmp_path / "preloaded.so", tmp_path / "ld.so.preload"
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror")
        subprocess.run(["gcc", *flags, "-o", library, Path(__file__).with_name(source)], check=True)
        preload.write_text(f"/usr/lib/{library.name}\n")
        mounted = {library: f"/usr/lib/{library.name}", preload: "/etc/ld.so.preload"}
        return tuple(word for here, there in mounted.items() for word in ("--volume", f"{here}:{there}:ro"))

    return make
