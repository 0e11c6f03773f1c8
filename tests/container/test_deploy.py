"""The files in deploy/, as Compose understands them: the least that the image needs, and settings it can use."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from maas_init.settings import VARIABLES, Settings

from .compose import COMPOSE

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("host.yaml", "macvlan.yaml", "truenas/maas.yaml")
"""Those for Compose."""
VOLUMES = {"/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"}
SECRETS = {"POSTGRES_PASSWORD": "your-database-password", "MAAS_ADMIN_PASSWORD": "your-password"}
"""What the two that use secret files are given there."""


def understood(name: str) -> dict[str, Any]:
    """Return what Compose makes of a file."""
    command = [*COMPOSE, "--file", str(DEPLOY / name), "config"]
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
    assert kept == VOLUMES


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


# Podman


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """Return the words of the command that Podman's own generator makes of the quadlet, by their option."""
    done = subprocess.run(
        [ROOT / "tests/tools/quadlet", DEPLOY / "podman"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (command,) = re.findall(r"^ExecStart=(.*)$", done.stdout, re.MULTILINE)
    found: dict[str, list[str]] = {}
    words = shlex.split(command)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-"):
            name, _, value = word.partition("=")
            found.setdefault(name, []).append(value or following)
    return found


def test_podman_runs_the_image_with_the_least_it_needs(unit: dict[str, list[str]]) -> None:
    assert unit["--user"] == ["568:568"] and unit["--hostname"] == ["maas"] and unit["--network"] == ["host"]
    assert "--read-only" in unit and "--privileged" not in unit
    assert [each.lower() for each in unit["--cap-drop"]] == ["all"]
    assert sorted(each.lower() for each in unit["--cap-add"]) == ["net_bind_service", "net_raw"]
    assert {each.split(":")[1] for each in unit["-v"]} == VOLUMES
    assert {each.split(":")[0] for each in unit["--tmpfs"]} == {"/run", "/tmp"}
    assert unit["--health-cmd"] == ["/usr/local/bin/healthcheck.sh"]


def test_podman_gives_settings_that_it_can_use(unit: dict[str, list[str]]) -> None:
    given = dict(each.split("=", 1) for each in unit["--env"])
    files = {each.split(",")[0].upper() for each in unit["--secret"]}
    assert files == SECRETS.keys()
    assert Settings.from_environ(given | SECRETS).region().database.embedded


# Kubernetes


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    """Return the objects, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


@pytest.mark.parametrize("kind", ["Namespace", "Secret", "StatefulSet"])
@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_knows_every_field(kubernetes: dict[str, Any], kind: str, version: str) -> None:
    kubernetes_validate.validate(kubernetes[kind], version, strict=True)


def test_kubernetes_runs_the_image_with_the_least_it_needs(kubernetes: dict[str, Any]) -> None:
    pod = kubernetes["StatefulSet"]["spec"]["template"]["spec"]
    (maas,) = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 568
    assert maas["securityContext"]["readOnlyRootFilesystem"] is True
    assert maas["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_RAW", "NET_BIND_SERVICE"]}
    mounted = {each["mountPath"]: each["name"] for each in maas["volumeMounts"]}
    assert mounted.keys() == {*VOLUMES, "/run", "/tmp", "/run/secrets"}
    there = {each["name"] for each in pod["volumes"]}
    kept = {each["metadata"]["name"] for each in kubernetes["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert set(mounted.values()) == there | kept
    assert kubernetes["StatefulSet"]["spec"]["replicas"] == 1


def test_kubernetes_gives_settings_that_it_can_use(kubernetes: dict[str, Any]) -> None:
    (maas,) = kubernetes["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in maas["env"]}
    files = {name.upper(): value for name, value in kubernetes["Secret"]["stringData"].items()}
    assert files == SECRETS
    assert Settings.from_environ(given | files).region().database.embedded
