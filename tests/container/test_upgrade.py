"""Upgrades, going back, and being killed in the middle: nothing is lost and nothing happens twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maas_init import bootstrap

from .conftest import Run
from .docker import PATIENCE, Container, docker, host_pids

pytestmark = pytest.mark.container

SWITCHES = "/etc/maas-simulator"
TEXT = """from maasserver.simulated_migration import step

Migration = step("maasserver", "0331_next", after="0330_bootresourcefile_filename_on_disk")
"""

Told = dict[str, Any]

STEPS = [*(name for name, _ in bootstrap.REGION_STEPS), "done"]


def at(step: str) -> Callable[[Told], bool]:
    """Return whether bootstrap has come to a step: some take less time than it takes to look."""
    return lambda told: told["step"] in STEPS[STEPS.index(step) :]


def half_migrated(told: Told) -> bool:
    return bool(told["step"] == "schema" and told["done"] * 2 >= told["total"] > 0)


POINTS: dict[str, Callable[[Told], bool]] = {
    "schema": at("schema"),
    "half of the migrations": half_migrated,
    "Temporal's tables": lambda told: "Temporal" in told["summary"],
    **{step: at(step) for step in STEPS[1:]},
}
"""What bootstrap's progress file says at each point of a first boot; the steps are those of the program."""


def newer_image(maas: Container) -> None:
    """Have the next start be that of another image, whose MAAS is newer and has one more migration."""
    maas.execute("mkdir", "-p", f"{SWITCHES}/migrations")
    maas.execute("sh", "-c", f"cat > {SWITCHES}/migrations/0331_next.py", stdin=TEXT)
    set_version(maas, "1:3.5.99-0ubuntu1")


def older_image(maas: Container) -> None:
    maas.execute("rm", f"{SWITCHES}/migrations/0331_next.py")
    set_version(maas, "1:3.5.13-0ubuntu1")


def set_version(maas: Container, version: str) -> None:
    script = f"/^Package: maas-region-api$/,/^$/s/^Version: .*/Version: {version}/"
    maas.execute("sed", "-i", script, "/var/lib/dpkg/status", user="0")


def restart(maas: Container) -> str:
    """Stop and start; return what the second life says until it is healthy."""
    before = maas.logs()
    docker("stop", maas.name)
    docker("start", maas.name)
    maas.until_healthy()
    return maas.logs().removeprefix(before)


def wait_for(maas: Container, what: str, reached: Callable[[Told], bool]) -> int:
    """Wait until bootstrap's progress is as wanted, and return process 1."""
    first = int(maas.inspect(".State.Pid"))
    progress = Path(f"/proc/{first}/root/run/maas-init/progress.json")
    ticks = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[19]
    began = int(ticks) / os.sysconf("SC_CLK_TCK")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            told = json.loads(progress.read_text())
            if told["at_uptime"] > began and reached(told):  # else it is of the life before
                return first
        except (OSError, ValueError):
            assert Path(f"/proc/{first}").exists(), maas.logs()[-4000:]
    raise AssertionError(f"bootstrap never came to {what}: {maas.logs()[-4000:]}")


def kill_at(maas: Container, what: str, reached: Callable[[Told], bool]) -> None:
    """Kill everything in the container at that point, as `docker kill` does, and start it again."""
    os.kill(wait_for(maas, what, reached), signal.SIGKILL)
    assert maas.wait() == 128 + signal.SIGKILL
    docker("start", maas.name)


def migrating(told: Told) -> bool:
    return "0331_next" in told["summary"]


def running(maas: Container, words: bytes) -> list[int]:
    """Return the processes of the container with these words in their command line."""
    found = []
    for pid in host_pids(maas):
        try:
            if words in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue  # it ended meanwhile
    return found


def backups(maas: Container) -> list[str]:
    return [line.split()[0] for line in maas.execute("maas-init", "restore", "--list").splitlines()]


def test_being_killed_at_every_step_of_the_first_boot_loses_and_doubles_nothing(new: Run) -> None:
    maas = new().run()
    docker("kill", maas.name)  # before the first step
    docker("start", maas.name)
    for what, reached in POINTS.items():
        kill_at(maas, what, reached)
    maas.until_healthy()

    assert maas.sql("SELECT username FROM auth_user WHERE is_superuser AND username <> 'MAAS'") == "admin\n"
    doubled = "SELECT app, name FROM django_migrations GROUP BY 1, 2 HAVING count(*) > 1"
    assert maas.sql(doubled) == ""
    assert maas.sql("SELECT name FROM maasserver_config GROUP BY 1 HAVING count(*) > 1") == ""
    assert maas.sql("SELECT name FROM django_migrations WHERE name LIKE '0330%'").startswith("0330_")
    assert maas.sql("SELECT count(*) FROM maasserver_node WHERE hostname = 'maas'") == "1\n"
    assert backups(maas) == [], "a first boot that is resumed is no upgrade"
    assert 'changed="nothing to do"' in restart(maas)


def upgrade_with_kills(maas: Container) -> None:
    """Upgrade; killed while it saves the database and while it migrates, and then with its bootstrap killed alone."""
    maas.execute("sh", "-c", f"echo 2 > {SWITCHES}/dbupgrade-delay")
    docker("stop", maas.name)
    docker("start", maas.name)
    kill_at(maas, "the backup", lambda told: bool(told["step"] == "backup"))
    kill_at(maas, "the migration", migrating)
    wait_for(maas, "the migration", migrating)
    [first] = running(maas, b"maas-init\0bootstrap")
    os.kill(first, signal.SIGKILL)
    most = 0
    while maas.health() != "healthy" or maas.status()["level"] != "healthy":
        most = max(most, len(running(maas, b"django\0dbupgrade")))
    maas.until_healthy()
    assert most == 1, "two at once would hurt each other"


def test_upgrade_and_back_again(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()
    maas.sql("CREATE TABLE keepsake AS SELECT 'before' AS word; ALTER TABLE keepsake OWNER TO maas")
    users = maas.sql("SELECT id, username, password FROM auth_user ORDER BY id")

    newer_image(maas)
    upgrade_with_kills(maas)
    assert maas.sql("SELECT count(*) FROM django_migrations WHERE name = '0331_next'") == "1\n"
    assert maas.sql("SELECT word FROM keepsake") == "before\n"
    [saved] = backups(maas)
    assert saved.endswith("-3.5.13-before-upgrade.dump"), "what is half upgraded is not saved over it"
    assert maas.execute("stat", "-c", "%a %U", f"/var/lib/maas/backups/{saved}") == "600 maas\n"
    assert "pending=1" in maas.logs()

    # Back, in the running container; this image upgrades it again.
    maas.sql("UPDATE keepsake SET word = 'after'")
    dhcp_side = maas.processes()["rackd"]
    told = maas.execute("maas-init", "restore", "latest")
    assert f"The database is what it was in {saved}." in told
    maas.until_healthy()
    assert maas.processes()["rackd"] == dhcp_side
    assert maas.sql("SELECT word FROM keepsake") == "before\n"
    assert maas.sql("SELECT count(*) FROM django_migrations WHERE name = '0331_next'") == "1\n"
    assert maas.sql("SELECT id, username, password FROM auth_user ORDER BY id") == users
    assert [name.rpartition("Z-")[2] for name in backups(maas)] == [
        "3.5.13-before-upgrade.dump",
        "3.5.99-before-restore.dump",
        "3.5.13-before-upgrade.dump",
    ]

    # The older image again: it refuses and touches nothing.
    maas.sql("UPDATE keepsake SET word = 'after'")
    older_image(maas)
    docker("stop", maas.name)
    docker("start", maas.name)
    assert maas.wait() == 78
    assert "the migration maasserver.0331_next is unknown here" in maas.logs()[-6000:]

    # What it says to do: a container for the purpose, with the same volumes.
    once = ("run", "--rm", "--volumes-from", maas.name, "--hostname", "maas", "--network", maas.network)
    given = [word for name, value in maas.settings.items() for word in ("--env", f"{name}={value}")]
    assert "The database is what it was in" in docker(*once, *given, maas.image, "maas-init", "restore", "latest")
    docker("start", maas.name)
    maas.until_healthy()
    assert maas.sql("SELECT word FROM keepsake") == "before\n"
    assert maas.sql("SELECT count(*) FROM django_migrations WHERE name = '0331_next'") == "0\n"
    assert maas.sql("SELECT id, username, password FROM auth_user ORDER BY id") == users

    # While it runs, another container has no business with its volumes.
    refused = docker(*once, *given, maas.image, "maas-init", "restore", "latest", check=False)
    assert "another PostgreSQL server is using it" in refused
    assert "docker compose exec maas maas-init restore latest" in refused
    made = maas.execute("maas-init", "backup").splitlines()[-1]
    assert made.endswith("-manual.dump")
