"""The files in deploy/, as Compose understands them: the least that the image needs, and settings it can use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from maas_init.settings import VARIABLES, Settings

pytestmark = pytest.mark.container

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(str(file.relative_to(DEPLOY)) for file in DEPLOY.rglob("*.yaml"))


def understood(name: str) -> dict[str, Any]:
    """Return what Compose makes of a file."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    command = [*program, "--file", str(DEPLOY / name), "config"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize("name", FILES)
def test_it_starts_the_image_with_the_least_it_needs(name: str) -> None:
    maas = understood(name)["services"]["maas"]
    assert maas["user"] == "568:568" and maas["hostname"] == "maas"
    assert maas["read_only"] is True and maas["tmpfs"] == ["/run", "/tmp"]
    assert (maas["cap_drop"], maas["cap_add"]) == (["ALL"], ["NET_RAW", "NET_BIND_SERVICE"])
    assert "privileged" not in maas and "security_opt" not in maas
    kept = {str(each["target"] if isinstance(each, dict) else each.split(":")[1]) for each in maas["volumes"]}
    assert kept == {"/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"}


@pytest.mark.parametrize("name", FILES)
def test_its_settings_can_be_used_and_what_is_to_be_changed_is_marked(name: str) -> None:
    given = {key: str(value) for key, value in understood(name)["services"]["maas"]["environment"].items()}
    settings = Settings.from_environ(given).region()
    assert settings.database.embedded and not settings.maas_url.is_local
    assert given.keys() <= {variable.name for variable in VARIABLES} | {"TZ"}
    text = (DEPLOY / name).read_text()
    for line in re.findall(
        r"^ +(?:MAAS_URL|MAAS_ADMIN_PASSWORD|MAAS_ADMIN_EMAIL|POSTGRES_PASSWORD): .*", text, re.MULTILINE
    ):
        assert "your" in line


def test_truenas_shows_maas_and_the_status_page() -> None:
    # Compose leaves out what begins with x-: it is for TrueNAS.
    app = yaml.safe_load((DEPLOY / "truenas" / "maas.yaml").read_text())
    assert app["services"]["maas"]["network_mode"] == "host"
    assert {portal["port"] for portal in app["x-portals"]} == {5240, 5290}
    assert all(portal.keys() == {"host", "name", "path", "port", "scheme"} for portal in app["x-portals"])
    assert app["x-notes"].startswith("# MAAS")
