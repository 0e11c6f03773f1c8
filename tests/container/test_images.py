"""Boot images: how far they are is told from the first to the last."""

from __future__ import annotations

import json
import re

import pytest

from .api import Api
from .conftest import Run
from .docker import Container, until

pytestmark = pytest.mark.container

FILES, SECONDS = 3, 75
"""Long enough for several looks; a slower machine takes longer, and nothing here depends on it."""


@pytest.fixture(scope="module")
def maas(new: Run) -> Container:
    container = new().run()
    container.until_healthy()
    for switch, value in {"import-files": FILES, "import-seconds": SECONDS}.items():
        container.execute("sh", "-c", f"echo {value} > /etc/maas-simulator/{switch}", user="0")
    return container


def in_the_way(maas: Container) -> str:
    return "; ".join(maas.status()["pxe"]["reasons"])


def test_import_is_told_while_it_lasts_and_machines_can_boot_from_it_afterwards(maas: Container) -> None:
    assert maas.status()["images"] is None
    assert "boot loaders and images yet: see Images in MAAS" in in_the_way(maas)

    Api(maas)("POST", "boot-resources/?op=import")
    coming = until(lambda: maas.status()["images"], "the import is seen")
    assert (coming["of_files"], coming["of_megabytes"]) == (FILES, FILES * 100)
    assert coming["files"] < FILES and coming["megabytes"] < coming["of_megabytes"]
    assert "boot loaders and images yet: they are being fetched" in in_the_way(maas)
    assert f"of {FILES} files are here, " in maas.execute("maas-init", "status")
    further = until(lambda: (maas.status()["images"] or {"files": FILES})["files"] > coming["files"], "more files")
    assert further

    until(lambda: maas.status()["images"] is None, "the end of the import")
    until(lambda: "boot loaders" not in in_the_way(maas), "machines find images")
    log = maas.logs()
    assert re.search(
        rf" images\.importing files=\d of_files={FILES} megabytes=\d+ of_megabytes={FILES * 100}$", log, re.M
    )
    assert f" images.imported files={FILES}" in log
    assert "fetching boot images" not in maas.execute("maas-init", "status")
    assert json.loads(maas.sql("SELECT json_agg(size) FROM maasserver_bootresourcefilesync")) == [100_000_000] * FILES
