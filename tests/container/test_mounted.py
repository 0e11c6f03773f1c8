"""What people mount into a container: files beside MAAS's own are left alone, a service that floods harms no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Run
from .docker import Container, until

pytestmark = pytest.mark.container

LINES = 200_000

FLOOD = f"""\
[program:flood]
command = /usr/bin/seq -f "line %%.0f" {LINES}
autostart = false
autorestart = false
redirect_stderr = true
stdout_logfile = /var/log/maas/flood.log
stdout_logfile_maxbytes = 1MB
stdout_logfile_backups = 1

[service:flood]
description = prints a lot
type = oneshot
start = request
"""

CUSTOM = "# mine\nanything: at all\n"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a service file and a configuration file, which others may enter."""
    directory = tmp_path_factory.mktemp("mounted")
    (directory / "flood.conf").write_text(FLOOD)
    (directory / "custom.yaml").write_text(CUSTOM)
    for each in (directory, *directory.parents):
        if each.stat().st_mode & 0o005 != 0o005 and each.name != "tmp":
            each.chmod(each.stat().st_mode | 0o055)
    return directory


@pytest.fixture(scope="module")
def maas(new: Run, mounted: Path) -> Container:
    container = new(
        *("--volume", f"{mounted}/flood.conf:/etc/maas-init/conf.d/flood.conf:ro"),
        *("--volume", f"{mounted}/custom.yaml:/etc/maas/custom/custom.yaml:ro"),
        *("--volume", f"{mounted}/custom.yaml:/etc/maas/own.yaml"),
    ).run()
    container.until_healthy()
    return container


def test_files_beside_maas_s_own_configuration_are_left_as_they_are(maas: Container, mounted: Path) -> None:
    before = (mounted / "custom.yaml").stat()
    maas.execute("maas-init", "plan")
    maas.execute("kill", "-HUP", "1")
    until(lambda: "reload.finished" in maas.logs(), "it is configured again")
    (again,) = [line for line in maas.logs().splitlines() if "configuration.written files=" in line][1:]
    assert again.endswith("changed=0"), "nobody changed anything"
    assert maas.execute("cat", "/etc/maas/own.yaml", "/etc/maas/custom/custom.yaml") == CUSTOM * 2
    after = (mounted / "custom.yaml").stat()
    assert (after.st_mtime_ns, after.st_uid, after.st_mode) == (before.st_mtime_ns, before.st_uid, before.st_mode)
    assert "database_host" in maas.execute("cat", "/etc/maas/regiond.conf")


def shown(log: str) -> list[int]:
    """Return the numbers of the lines of the flood that the log shows."""
    return [int(line.rpartition("line ")[2]) for line in log.splitlines() if re.search(r" flood +line \d+$", line)]


def missing(log: str) -> int:
    """Return how many lines are neither shown nor counted as dropped: the engine may be slower than the flood."""
    dropped = sum(map(int, re.findall(r" log\.dropped .*?records=(\d+)", log)))
    return max(0, LINES - len(shown(log)) - dropped)


def test_flood_of_one_service_harms_no_other(maas: Container) -> None:
    before = maas.processes()
    maas.execute("maas-init", "start", "flood")
    until(lambda: maas.status()["services"]["flood"]["level"] == "ready", "the end of the flood")
    maas.until_healthy()
    until(lambda: missing(maas.logs()) == 0, "every line is shown, or counted as dropped")
    after = maas.processes()
    assert {name for name, pid in before.items() if after.get(name) != pid} == set()
    assert not [line for line in maas.logs().splitlines() if " service.unwell " in line or " service.failed " in line]

    numbers = shown(maas.logs())
    assert numbers == sorted(set(numbers)), "what is shown is whole and in order"
    size = int(maas.execute("sh", "-c", "cat /var/log/maas/flood.log* | wc -c"))
    assert size < 3_000_000, "its files are rotated"
