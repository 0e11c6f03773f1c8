"""Backups before upgrades, and restoring them: against a real PostgreSQL, with scripts for MAAS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_deployment import Deployment

from maas_init import backups, restore
from maas_init.bootstrap import journal, reach, schema
from maas_init.bootstrap.work import MARK, mark
from maas_init.errors import CommandFailed, DatabaseTooNew, ExitCode, MaasInitError
from maas_init.paths import Paths

NEW = "1:3.5.14-17412-g.1234-0ubuntu1~22.04.1"

ROWS = "SELECT name, value FROM maasserver_config ORDER BY name"


def upgrade(deployment: Deployment, **environ: str) -> list[str]:
    """Start as with a newer image, whose MAAS has one more migration."""
    deployment.dpkg(NEW)
    (deployment.paths.maas_data / "next-version").touch()
    return deployment.start(**environ)


def names(deployment: Deployment) -> list[str]:
    return [path.name for path in backups.found(deployment.paths)]


def make(directory: Path, *made: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in made:
        (directory / name).touch()


# Pure parts.


def test_latest_is_the_newest_but_those_made_before_a_restore(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with pytest.raises(MaasInitError, match='cannot find the backup "latest"'):
        backups.choose(paths, "latest")
    upgrade, asked = "20260102T000000.000Z-3.5.1-before-upgrade.dump", "20260101T000000.000Z-3.5.1-manual.dump"
    make(paths.backups, upgrade, asked, "20260103T000000.000Z-3.5.2-before-restore.dump", ".x.dump", "notes.dump")
    assert backups.choose(paths, "latest").name == upgrade
    assert backups.choose(paths, asked) == paths.backups / asked
    assert backups.choose(paths, os.fspath(paths.backups / "notes.dump")).name == "notes.dump"
    with pytest.raises(MaasInitError) as refusal:
        backups.choose(paths, "../etc")
    assert asked in refusal.value.hint


KNOWN = {"maasserver.0001_initial", "maasserver.0330_last", "auth.0001_initial"}


def test_a_database_with_later_migrations_is_refused(tmp_path: Path) -> None:
    rows = [("maasserver", "0330_last", 1), ("maasserver", "0331_next", 1), ("maasserver", "0340_more", 1)]
    with pytest.raises(DatabaseTooNew) as refusal:
        schema.refuse_newer(Paths(tmp_path), "1:3.5.13-1", rows, KNOWN)
    assert "(3.5.13)" in str(refusal.value)
    assert "maasserver.0340_more and 1 more" in str(refusal.value)
    assert refusal.value.exit_code is ExitCode.BAD_SETTINGS
    assert "newer than this image" in Paths(tmp_path).progress.read_text()


def test_old_migrations_and_applications_that_maas_has_dropped_are_no_reason_to_refuse(tmp_path: Path) -> None:
    rows = [("maasserver", "0200_squashed", 1), ("south", "9999_gone", 1), ("maasserver", "0330_last", 1)]
    schema.refuse_newer(Paths(tmp_path), "1:3.5.13-1", rows, KNOWN)


@pytest.mark.parametrize(("version", "short"), [(NEW, "3.5.14"), ("3.6.0~rc1", "3.6.0"), ("unknown", "unknown")])
def test_versions_are_told_as_people_say_them(version: str, short: str) -> None:
    assert schema.short(version) == short


# Backups.


@pytest.mark.process
def test_nothing_is_saved_at_the_first_start_and_the_database_before_an_upgrade(deployment: Deployment) -> None:
    deployment.start()
    assert names(deployment) == []
    upgrade(deployment)
    [backup] = backups.found(deployment.paths)
    assert backup.name.endswith("Z-3.5.13-before-upgrade.dump")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert backup.parent.stat().st_mode & 0o777 == 0o700
    deployment.start()
    assert len(names(deployment)) == 1


@pytest.mark.process
def test_three_backups_of_each_kind_are_kept(deployment: Deployment) -> None:
    deployment.start()
    asked = "20200101T000000.000Z-3.5.1-manual.dump"
    old = [f"2020010{day}T000000.000Z-3.5.1-before-upgrade.dump" for day in (1, 2, 3)]
    make(deployment.paths.backups, asked, *old, "mine.dump", ".half.dump")
    upgrade(deployment)
    assert names(deployment)[:3] == [asked, old[1], old[2]]
    assert len(names(deployment)) == 4
    assert (deployment.paths.backups / "mine.dump").exists()
    assert not (deployment.paths.backups / ".half.dump").exists()


@pytest.mark.process
def test_an_upgrade_that_was_cut_off_does_not_replace_what_was_saved_before_it(deployment: Deployment) -> None:
    deployment.start()
    switch = deployment.fails("dbupgrade-half-way", "broken\n")
    for _ in range(4):
        deployment.query("DELETE FROM django_migrations WHERE name = '0331_next'")
        with pytest.raises(CommandFailed):
            upgrade(deployment)
    assert len(names(deployment)) == 1
    switch.unlink()
    deployment.start()
    assert len(names(deployment)) == 1


@pytest.mark.process
def test_a_backup_that_fails_stops_the_upgrade_unless_backups_are_skipped(deployment: Deployment) -> None:
    deployment.start()
    with deployment.connect() as other, other.transaction():
        other.execute("LOCK TABLE auth_user")
        with pytest.raises(MaasInitError, match="cannot back up the database") as failure:
            upgrade(deployment, MAAS_INIT_MIGRATION_TIMEOUT="2")
    assert "MAAS_INIT_BACKUP=off" in failure.value.hint
    assert list(deployment.paths.backups.iterdir()) == [], "nothing half is left"
    deployment.paths.backups.rmdir()
    deployment.paths.backups.write_text("this is no directory")
    with pytest.raises(MaasInitError, match="cannot back up the database"):
        upgrade(deployment)
    assert "dbupgrade" not in [call["argv"][2] for call in deployment.calls()[5:]], (
        "the first five are of the first start"
    )
    assert upgrade(deployment, MAAS_INIT_BACKUP="off") == ["showmigrations", "dbupgrade"]


@pytest.fixture
def old_programs(deployment: Deployment) -> Iterator[None]:
    """PostgreSQL's programs are of an older version than the server."""
    there = deployment.paths.at("/usr/lib/postgresql")
    kept = there.readlink()
    there.unlink()
    (there / "9/bin").mkdir(parents=True)
    (there / "9/bin/pg_dump").touch()
    yield
    shutil.rmtree(there)
    there.symlink_to(kept)


@pytest.mark.process
@pytest.mark.usefixtures("old_programs")
def test_where_pg_dump_is_too_old_that_is_said_and_only_require_stops_the_upgrade(
    deployment: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    deployment.start()
    with pytest.raises(backups.CannotBackUp, match="the newest pg_dump in this image is 9") as refusal:
        upgrade(deployment, MAAS_INIT_BACKUP="required")
    assert "docker compose exec -T postgres pg_dump" in refusal.value.hint
    assert upgrade(deployment) == ["showmigrations", "dbupgrade"]
    assert "backup.impossible" in capfd.readouterr().err
    assert names(deployment) == []


# A database that is newer, a migration that stalls.


@pytest.mark.process
def test_a_newer_database_is_refused_and_nothing_is_touched(deployment: Deployment) -> None:
    deployment.start()
    upgrade(deployment)
    before = deployment.query("SELECT * FROM django_migrations ORDER BY id")
    (deployment.paths.maas_data / "next-version").unlink()
    deployment.dpkg("1:3.5.13-0ubuntu1")
    conf = deployment.paths.regiond_conf.read_text()
    saved = names(deployment)
    count = len(deployment.calls())
    with pytest.raises(DatabaseTooNew) as refusal:
        deployment.start(MAAS_DEBUG="true")
    assert "maas-init restore latest" in refusal.value.hint
    assert [call["argv"][2] for call in deployment.calls()[count:]] == ["showmigrations"]
    assert deployment.query("SELECT * FROM django_migrations ORDER BY id") == before
    assert deployment.paths.regiond_conf.read_text() == conf
    assert names(deployment) == saved


@pytest.mark.process
def test_a_migration_that_stalls_is_ended_and_told_and_for_whom_it_waits(deployment: Deployment) -> None:
    deployment.start()
    with deployment.connect() as other, other.transaction():
        other.execute("SET application_name = 'somebody''s psql'")
        other.execute("LOCK TABLE django_migrations IN SHARE MODE")
        with pytest.raises(MaasInitError) as failure:
            upgrade(deployment, MAAS_INIT_MIGRATION_TIMEOUT="2", MAAS_INIT_BACKUP="off")
    assert "cannot finish migrating 1/1: maasserver.0331_next: no progress for 2 s" in str(failure.value)
    assert "it waits for somebody's psql (from a local socket), in a transaction since 20" in str(failure.value)
    assert deployment.start() == ["showmigrations", "dbupgrade"]


# Restoring.


@pytest.mark.process
def test_restoring_brings_every_row_back_and_takes_away_what_the_upgrade_made(deployment: Deployment) -> None:
    deployment.start()
    deployment.query(
        "INSERT INTO maasserver_config VALUES ('upstream_dns', '\"9.9.9.9\"') "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
    deployment.query("CREATE SCHEMA temporal; CREATE TABLE temporal.executions (id int); CREATE EXTENSION btree_gin")
    before = deployment.query(ROWS)
    upgrade(deployment)
    deployment.query(
        "CREATE TABLE newer (name text REFERENCES maasserver_config); DELETE FROM auth_user;"
        "CREATE FUNCTION newer(newer) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE mood AS ENUM ('a')"
    )

    restore.restore(deployment.settings(), deployment.paths, "latest")

    assert deployment.query(ROWS) == before
    assert deployment.query("SELECT username FROM auth_user") == [("admin",)]
    assert deployment.query(
        "SELECT to_regclass('newer'), to_regtype('mood'), to_regclass('temporal.executions')::text"
    ) == [(None, None, "temporal.executions")]
    assert deployment.query("SELECT count(*) FROM django_migrations WHERE name = '0331_next'") == [(0,)]
    assert "before-restore" in names(deployment)[-1]
    # The next start upgrades anew, and leaves alone what people had changed in MAAS.
    assert deployment.start() == ["showmigrations", "dbupgrade"]
    assert deployment.query(ROWS) == before
    restore.restore(deployment.settings(), deployment.paths, names(deployment)[1])
    assert deployment.query("SELECT count(*) FROM auth_user") == [(0,)], "what was there before can be had back"


@pytest.mark.process
@pytest.mark.parametrize("harm", ["cut off", "not a backup"])
def test_a_restore_that_fails_changes_nothing(deployment: Deployment, harm: str) -> None:
    deployment.start()
    deployment.query("INSERT INTO maasserver_secret SELECT n::text, md5(n::text) FROM generate_series(1, 5000) AS n")
    restore.back_up(deployment.settings(), deployment.paths)
    [backup] = backups.found(deployment.paths)
    deployment.query("UPDATE maasserver_secret SET value = 'now'")
    whole = backup.read_bytes()
    if harm == "cut off":
        backup.write_bytes(whole[: len(whole) * 2 // 3])
    else:
        backup.write_text("SELECT 1;")
    with pytest.raises(MaasInitError, match=r"cannot (restore|use the backup)"):
        restore.restore(deployment.settings(), deployment.paths, backup.name)
    assert deployment.query("SELECT count(*) FROM maasserver_secret WHERE value = 'now'") == [(5000,)]


@pytest.mark.process
def test_who_uses_the_database_is_named_and_nothing_is_restored(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.start()
    restore.back_up(deployment.settings(), deployment.paths)
    monkeypatch.setattr(restore, "SESSIONS_GONE_WITHIN", 0.1)
    with deployment.connect() as other:
        other.execute("SET application_name = 'maas-regiond-abc'")
        with pytest.raises(MaasInitError, match="in use by maas-regiond-abc"):
            restore.restore(deployment.settings(), deployment.paths, "latest")
        other.execute("SELECT pg_advisory_lock(%s)", (reach.LOCK,))
        with pytest.raises(MaasInitError, match=r"maas-regiond-abc .* prepares the same database"):
            restore.restore(deployment.settings(), deployment.paths, "latest")
    assert journal.read(deployment.paths)["schema"]


@pytest.mark.process
def test_progress_of_a_backup_is_told(deployment: Deployment) -> None:
    deployment.start()
    told: list[tuple[int, int]] = []
    with deployment.connect() as connection:
        backups.save(
            deployment.settings(), connection, deployment.paths, "3.5.13-manual", lambda *each: told.append(each)
        )
    assert told == [(n, len(told)) for n in range(1, len(told) + 1)]
    assert told


# What a killed bootstrap leaves.


@pytest.mark.process
def test_what_a_killed_bootstrap_left_running_is_ended_before_its_successor_begins(deployment: Deployment) -> None:
    ours = {MARK: mark(deployment.paths)}
    left, another_container_s, other = (
        subprocess.Popen(("sleep", "1000"), env=os.environ | marked) for marked in (ours, {MARK: "0:0"}, {})
    )
    try:
        assert deployment.start()
        assert left.poll() is not None
        assert another_container_s.poll() is other.poll() is None
    finally:
        for process in (left, another_container_s, other):
            process.kill()
            process.wait()


def test_database_of_this_very_version_is_not_saved_once_more_after_a_restore(deployment: Deployment) -> None:
    deployment.start()
    journal.note(deployment.paths, schema=None, version="3.5.13", upgrade=None)  # as restore leaves it
    assert "dbupgrade" in deployment.start()
    assert backups.found(deployment.paths) == []
