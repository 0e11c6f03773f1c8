"""Stopping is quick, clean and told; starting again changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .conftest import Run
from .docker import docker, host_pids

pytestmark = pytest.mark.container


def test_stop_is_clean_and_a_second_start_changes_nothing(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()
    users = maas.sql("SELECT id, username, email, password, date_joined FROM auth_user ORDER BY id")
    migrations = maas.sql("SELECT app, name, applied FROM django_migrations ORDER BY id")
    identity = maas.execute("cat", "/var/lib/maas/maas_id")
    assert "admin@example.com" in users

    began = time.monotonic()
    docker("stop", "--time", "60", maas.name)
    seconds = time.monotonic() - began
    first_log = maas.logs()

    assert maas.inspect(".State.ExitCode") == 0
    assert not maas.inspect(".State.OOMKilled")
    assert seconds < 10, "docker stop kills after 10 s"
    assert "database system is shut down" in first_log
    assert "asked to stop" in first_log

    docker("start", maas.name)
    maas.until_healthy()
    second_log = maas.logs().removeprefix(first_log)

    assert "not properly shut down" not in second_log
    assert "Applying" not in second_log
    assert "schema.started" not in second_log
    assert "admin.created" not in second_log
    assert 'changed="nothing to do"' in second_log
    assert maas.sql("SELECT id, username, email, password, date_joined FROM auth_user ORDER BY id") == users
    assert maas.sql("SELECT app, name, applied FROM django_migrations ORDER BY id") == migrations
    assert maas.execute("cat", "/var/lib/maas/maas_id") == identity

    # A cache that somebody ended while it was made: squid itself would refuse it for ever.
    maas.execute("sh", "-c", "rm -r /var/spool/maas-proxy/0[4-9A-F]")
    maas.execute("maas-init", "restart", "proxy")
    maas.until_healthy()


def test_another_command_is_run_as_it_is(image: str) -> None:
    assert docker("run", "--rm", image, "sh", "-c", "id -u; id -g; echo $0").split() == ["568", "568", "sh"]
    assert "PostgreSQL" in docker("run", "--rm", image, "bash", "-c", "psql --version")


def uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize("way", [("--user", "0"), ("--init",), ("--tty",)], ids=lambda way: way[0].strip("-"))
def test_it_runs_however_it_is_started(new: Run, way: tuple[str, ...]) -> None:
    maas = new(*way).run()
    maas.until_healthy()

    assert {uid_of(pid) for pid in host_pids(maas)} == {568}
    docker("stop", maas.name)
    assert maas.inspect(".State.ExitCode") == 0
    assert "database system is shut down" in maas.logs()
