"""A container without a capability says what is missing and runs the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Run
from .docker import docker, until

pytestmark = pytest.mark.container

LAUNCHER = "/usr/lib/maas-init/setpriv"


@pytest.fixture
def nosuid(image: str, tmp_path: Path) -> Iterator[Path]:
    """The image's launcher with its file capabilities, on a file system on which they do not count."""
    holder = docker("run", "--detach", "--rm", "--entrypoint", "sleep", image, "infinity").strip()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid", "tmpfs", tmp_path], check=True)
    try:
        pid = docker("inspect", "--format", "{{.State.Pid}}", holder).strip()
        copy = Path(shutil.copy2(f"/proc/{pid}/root{LAUNCHER}", tmp_path))
        assert os.getxattr(copy, "security.capability")
        yield copy
    finally:
        docker("rm", "--force", holder)
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.parametrize("why", ["no-new-privileges", "nosuid"])
def test_what_lacks_a_capability_is_blocked_with_the_remedy_and_the_rest_runs(new: Run, nosuid: Path, why: str) -> None:
    # As on a host's network; what cap_add gives cannot be raised by a user other than root.
    if why == "nosuid":
        # Not read-only: for that the engine mounts it once more, without nosuid.
        options, remedy = ["--volume", f"{nosuid}:{LAUNCHER}"], "mounted nosuid, or without extended attributes"
    else:
        options, remedy = ["--security-opt", "no-new-privileges"], "without no-new-privileges"
    maas = new(*options, "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024").run()
    until(lambda: maas.status()["level"] == "degraded", "degraded")
    until(lambda: maas.status()["services"]["api"]["level"] == "ready", "the region's answer")
    until(lambda: maas.health() == "healthy", "MAAS itself works")

    def rest() -> set[str]:
        return {name for name, each in maas.status()["services"].items() if each["level"] not in ("ready", "off")}

    until(lambda: rest() == {"bind9", "ntp", "tftp", "discovery"}, "everything else")
    services = maas.status()["services"]
    for name in ("bind9", "ntp", "tftp"):
        assert services[name]["level"] == "blocked", services[name]
        assert "it needs NET_BIND_SERVICE, which this container does not have" in services[name]["because"]
        assert remedy in services[name]["because"]
    assert services["discovery"]["level"] == "blocked"
    assert "it needs NET_RAW, which this container does not have" in services["discovery"]["because"]
    assert services["bind9"]["restarts"] == 0
    assert "spawned: 'bind9'" not in maas.logs(), "it is not even tried"
