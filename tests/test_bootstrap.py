from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fix_deployment import Deployment
from fix_postgresql import REQUIRED, as_server_user, settings, until
from hypothesis import given
from hypothesis import strategies as st

from maas_init import bootstrap, database
from maas_init.bootstrap import configuration, journal, reach, region, schema
from maas_init.database import CannotUse, Cause
from maas_init.errors import CommandFailed, ExitCode, MaasInitError
from maas_init.paths import Paths

NASTY = {
    "signs": "p%as's $w o:rd #{}[]&*!|>@`,?",
    "colons": "::",
    "spaces around": "  both ends  ",
    "other scripts": "ünïcödé-密码-🔑-ﬁ",
    "longest": "x%" * 512,
    "one character": "x",
    "like YAML": "- !!python/object: {no: yes}",
}

SECRET = "0123456789abcdef0123456789abcdef"


# Pure parts.


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1))
def test_any_printable_value_survives_the_configuration_file(value: str) -> None:
    text = configuration.merged("", {}, {"database_pass": value})
    assert yaml.safe_load(text) == {"database_pass": value}


def test_keys_that_are_not_ours_survive() -> None:
    present = {"num_workers": 2, "debug": True}
    assert configuration.merged("", present, {"debug": False}) == "debug: false\nnum_workers: 2\n"


def test_a_file_that_means_the_same_keeps_its_text() -> None:
    text = "# four are too many\nnum_workers:   2\n"
    assert configuration.merged(text, {"num_workers": 2}, {}) == text


def test_the_configuration_of_the_region() -> None:
    wanted = configuration.for_region(settings(MAAS_DEBUG="yes"), Paths(), {})
    assert wanted == {
        "maas_url": "http://192.0.2.1:5240/MAAS",
        "database_host": "/run/postgresql",
        "database_port": 5432,
        "database_name": "maasdb",
        "database_user": "maas",
        "database_pass": REQUIRED["POSTGRES_PASSWORD"],
        "debug": True,
    }


VAULT = {"vault_url": "http://vault", "vault_approle_id": "1", "vault_secret_id": "2"}


def test_credentials_that_are_in_vault_stay_there() -> None:
    wanted = configuration.for_region(settings(), Paths(), VAULT | {"database_name": ""})
    assert not {"database_name", "database_user", "database_pass"} & wanted.keys()


@pytest.mark.parametrize("present", [VAULT, VAULT | {"database_name": "maasdb"}, {"database_name": ""}])
def test_credentials_that_are_not_in_vault_yet_are_written(present: dict[str, Any]) -> None:
    assert "database_pass" in configuration.for_region(settings(), Paths(), present)


def test_the_rack_controller_reaches_its_region_without_leaving_the_container() -> None:
    assert configuration.for_rack(settings())["maas_url"] == ["http://localhost:5240/MAAS"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"database_pass: 'hidden\n", "at line 2"),
        (b"database_pass: hidden: hidden\n", "mapping values are not allowed here at line 1"),
        (b"- hidden\n", "does not hold names and values"),
        (b"hidden \xff\n", "not UTF-8"),
        (b"hidden: \x01\n", "not YAML"),
    ],
)
def test_a_malformed_file_is_refused_without_quoting_it(tmp_path: Path, text: bytes, reason: str) -> None:
    file = tmp_path / "regiond.conf"
    file.write_bytes(text)
    with pytest.raises(MaasInitError, match=reason) as refusal:
        configuration.load(file)
    assert "hidden" not in str(refusal.value)
    assert file.read_bytes() == text


def test_pgpass_escapes_what_has_a_meaning_there() -> None:
    assert schema.pgpass(r"a:b\c") == "*:*:*:*:a\\:b\\\\c\n"


def test_the_package_version_is_read_from_dpkg(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: maas-agent\nVersion: 9\n\nPackage: maas-region-api\nStatus: ok\nVersion: 1:3.5.13-0\n\n"
    )
    assert schema.package_version(status) == "1:3.5.13-0"
    assert schema.package_version(tmp_path / "nothing") == "unknown"


def test_no_forwarders_are_an_empty_setting() -> None:
    assert region.config_wanted(settings(MAAS_DNS_FORWARDER="none"))["upstream_dns"] == ""
    assert region.config_wanted(settings(MAAS_DNS_FORWARDER="1.1.1.1, 9.9.9.9"))["upstream_dns"] == "1.1.1.1 9.9.9.9"


def test_a_journal_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert journal.read(paths) == {}
    journal.note(paths, schema="1")
    journal.note(paths, settings={})
    assert journal.read(paths) == {"schema": "1", "settings": {}}
    paths.journal.write_text("[")
    assert journal.read(paths) == {}


def test_a_database_that_never_answers_is_given_up_with_its_cause(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(tmp_path)
    with pytest.raises(CannotUse) as failure:
        reach.database(settings(POSTGRES_HOST=os.fspath(tmp_path), MAAS_INIT_DATABASE_ATTEMPTS="12"), paths)
    assert failure.value.cause is Cause.REFUSED
    lines = [line for line in capfd.readouterr().err.splitlines() if "database.missed" in line]
    assert [line.split("attempt=")[1].split()[0] for line in lines] == ["1/12", "10/12"]
    assert all("cause=refused" in line for line in lines)
    told = json.loads(paths.progress.read_text())
    assert told["step"] == "database"
    assert told["summary"] == "waiting for PostgreSQL: nothing accepts connections there (12/12)"


# Against a real PostgreSQL, with scripts for MAAS.


FIRST = ["showmigrations", "dbupgrade", "setup-dns", "createadmin", "shell"]


@pytest.mark.process
def test_the_first_start_does_everything_and_the_second_nothing(
    deployment: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    assert deployment.start(MAAS_REGION_SECRET=SECRET) == FIRST
    assert deployment.query("SELECT username, email, password, is_superuser FROM auth_user") == [
        ("admin", "admin@example.com", REQUIRED["MAAS_ADMIN_PASSWORD"], True)
    ]
    assert dict(deployment.query("SELECT name, value FROM maasserver_config")) == {
        "upstream_dns": "8.8.8.8",
        "boot_images_auto_import": True,
    }
    assert deployment.query("SELECT name, value FROM maasserver_secret") == [("rpc-shared", SECRET)]
    assert (deployment.paths.maas_data / "secret").read_text() == SECRET
    assert "changed=schema,configuration,dns,admin,settings" in capfd.readouterr().err
    assert json.loads(deployment.paths.progress.read_text())["step"] == "done"

    files = (deployment.paths.regiond_conf, deployment.paths.rackd_conf, deployment.paths.journal)
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    began = time.monotonic()
    assert deployment.start(MAAS_REGION_SECRET=SECRET) == []
    assert time.monotonic() - began < 0.8
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before
    assert 'changed="nothing to do"' in capfd.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("password", NASTY.values(), ids=NASTY.keys())
def test_any_password_works_end_to_end_and_shows_nowhere(
    deployment: Deployment, password: str, capfd: pytest.CaptureFixture[str]
) -> None:
    deployment.start(POSTGRES_PASSWORD=password, MAAS_ADMIN_PASSWORD=password)
    assert deployment.regiond_conf()["database_pass"] == password
    assert deployment.query("SELECT password FROM auth_user", POSTGRES_PASSWORD=password) == [(password,)]
    assert deployment.start(POSTGRES_PASSWORD=password, MAAS_ADMIN_PASSWORD=password) == []
    if len(password) > 1:
        assert password not in capfd.readouterr().err
        assert password not in json.dumps([call["argv"] for call in deployment.calls()], ensure_ascii=False)
        assert password not in deployment.paths.journal.read_text()


@pytest.mark.process
def test_dbupgrade_never_hears_the_password_where_others_could_read_it(deployment: Deployment) -> None:
    deployment.paths.maas_etc.joinpath("regiond.conf").write_text(yaml.safe_dump(VAULT | {"num_workers": 2}))
    deployment.start()
    [environ] = [call["environ"] for call in deployment.calls() if call["argv"][2] == "dbupgrade"]
    assert environ["MAAS_REGION_CONFIG"] == os.fspath(deployment.paths.run / "dbupgrade.conf")
    assert environ["SQL_PASSWORD"] == REQUIRED["POSTGRES_PASSWORD"]
    assert not list(deployment.paths.run.glob("dbupgrade.*")), "removed afterwards"


@pytest.mark.process
def test_the_private_files_of_dbupgrade_are_private(deployment: Deployment) -> None:
    deployment.start()
    deployment.paths.regiond_conf.write_text(yaml.safe_dump(deployment.regiond_conf() | VAULT))
    with schema.private_environment(settings(), deployment.paths) as environ:
        conf, password_file = Path(environ["MAAS_REGION_CONFIG"]), Path(environ["PGPASSFILE"])
        held = yaml.safe_load(conf.read_text())
        assert held["database_user"] == "maas"
        assert not {"database_pass", *VAULT} & held.keys()
        assert conf.stat().st_mode & 0o777 == password_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.process
def test_commands_get_a_small_environment_and_the_umask_of_maas_region(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAP", "never")
    before = os.umask(0o022)
    os.umask(before)
    deployment.start()
    call = deployment.calls()[0]
    assert call["umask"] == 0o007
    assert {"SNAP", "PYTHONPATH"} & call["environ"].keys() == set()
    assert call["environ"]["HOME"] == os.fspath(deployment.paths.maas_data)
    assert call["environ"]["USER"] == call["environ"]["LOGNAME"] == "maas"
    assert os.umask(before) == before


@pytest.mark.process
def test_configuration_files_are_merged_and_private(deployment: Deployment) -> None:
    deployment.paths.regiond_conf.write_text("num_workers: 2\ndatabase_pass: old\n")
    deployment.start(MAAS_DEBUG="true")
    assert deployment.regiond_conf()["num_workers"] == 2
    assert deployment.regiond_conf()["debug"] is True
    assert deployment.regiond_conf()["database_host"] == os.fspath(deployment.paths.postgresql_socket)
    for file in (deployment.paths.regiond_conf, deployment.paths.rackd_conf):
        assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.process
def test_a_new_version_of_maas_runs_dbupgrade_and_keeps_what_people_changed(deployment: Deployment) -> None:
    deployment.start()
    deployment.query("UPDATE maasserver_config SET value = '\"9.9.9.9\"' WHERE name = 'upstream_dns'")
    deployment.dpkg("1:3.5.14-0ubuntu1")
    assert deployment.start() == ["showmigrations", "dbupgrade"]
    assert deployment.query("SELECT value FROM maasserver_config WHERE name = 'upstream_dns'") == [("9.9.9.9",)]


@pytest.mark.process
def test_a_setting_is_applied_again_when_the_environment_changes(deployment: Deployment) -> None:
    deployment.start()
    deployment.query("UPDATE maasserver_config SET value = 'false' WHERE name = 'boot_images_auto_import'")
    assert deployment.start(MAAS_DNS_FORWARDER="1.1.1.1") == ["shell"]
    assert dict(deployment.query("SELECT name, value FROM maasserver_config")) == {
        "upstream_dns": "1.1.1.1",
        "boot_images_auto_import": False,
    }


@pytest.mark.process
def test_items_of_maas_s_configuration_are_set_or_refused_with_the_reason(
    deployment: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    def value() -> object:
        return dict(deployment.query("SELECT name, value FROM maasserver_config")).get("node_timeout")

    wanted = {"MAAS_SETTING_node_timeout": "45", "MAAS_SETTING_node_timeuot": "45"}
    deployment.start(**wanted)
    assert value() == 45
    assert (
        'name=MAAS_SETTING_node_timeuot reason="node_timeuot is not a valid config setting."' in capfd.readouterr().err
    )
    found = deployment.settings(**wanted)
    assert region.refused_settings(found, deployment.paths).keys() == {"node_timeuot"}
    deployment.query("UPDATE maasserver_config SET value = '60' WHERE name = 'node_timeout'")

    assert deployment.start(**wanted) == ["shell"], "what was refused is tried again"
    assert value() == 60, "what people changed stays"

    assert deployment.start(MAAS_SETTING_node_timeout="soon") == ["shell"]
    assert 'reason="Enter a whole number."' in capfd.readouterr().err
    assert deployment.start(MAAS_SETTING_node_timeout="30") == ["shell"]
    assert value() == 30
    assert region.refused_settings(deployment.settings(MAAS_SETTING_node_timeout="30"), deployment.paths) == {}
    assert deployment.start(MAAS_SETTING_node_timeout="30") == []


@pytest.mark.process
def test_an_emptied_database_gets_everything_again(deployment: Deployment) -> None:
    deployment.start()
    with as_server_user(), database.connect_as_superuser(settings().database, deployment.paths) as superuser:
        superuser.execute("DROP DATABASE maasdb WITH (FORCE)")
    assert deployment.start() == ["showmigrations", "dbupgrade", "createadmin", "shell"]


@pytest.mark.process
def test_another_database_is_not_taken_for_the_first(deployment: Deployment) -> None:
    deployment.start()
    assert deployment.start(POSTGRES_DB="other") == ["showmigrations", "dbupgrade", "createadmin", "shell"]


@pytest.mark.process
@pytest.mark.parametrize(
    "step", ["setup-dns", "setup-dns-half-way", "dbupgrade", "dbupgrade-half-way", "createadmin", "shell"]
)
def test_a_start_that_failed_in_any_step_is_resumed_there(deployment: Deployment, step: str) -> None:
    switch = deployment.fails(step, "broken\n")
    with pytest.raises(CommandFailed):
        deployment.start()
    switch.unlink()
    commands_run = deployment.start()
    assert commands_run[-1] == "shell"
    assert deployment.query("SELECT count(*) FROM auth_user") == [(1,)]
    assert deployment.query("SELECT count(*) FROM django_migrations") == [(4,)]
    assert deployment.start() == []


@pytest.mark.process
def test_migrations_that_failed_half_way_are_resumed(deployment: Deployment) -> None:
    deployment.start()
    deployment.query("DELETE FROM django_migrations WHERE app = 'maasserver'")
    switch = deployment.fails("dbupgrade-half-way", "broken\n")
    with pytest.raises(CommandFailed):
        deployment.start()
    assert deployment.query("SELECT count(*) FROM django_migrations") == [(3,)]
    switch.unlink()
    assert deployment.start() == ["showmigrations", "dbupgrade"]
    assert deployment.query("SELECT count(*) FROM django_migrations") == [(4,)]


@pytest.mark.process
def test_sigterm_ends_dbupgrade_too_and_leaves_no_password_behind(deployment: Deployment) -> None:
    hang = deployment.paths.maas_data / "hang-dbupgrade"
    hang.touch()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            deployment.start()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    until(lambda: not hang.exists())
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2
    assert not list(deployment.paths.run.glob("dbupgrade.*"))
    told = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not any(os.fspath(deployment.paths.root / "python3") in line for line in told)
    deployment.start()


@pytest.mark.process
def test_progress_is_told_without_knowing_how_many(deployment: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    deployment.fails("showmigrations", "no plan\n")
    deployment.start()
    assert "schema.unplanned" in capfd.readouterr().err


def test_progress_counts_what_dbupgrade_prints(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    progress, unknown = schema.Progress(paths, 514), schema.Progress(paths, None)
    for line in (
        "Running migrations:",
        "  Applying a.0001_x... OK",
        "  Applying a.0002_y...words of a migration",
        " OK",
    ):
        progress.hear(line)
        unknown.hear(line)
    assert progress.summary() == "migrating 2/514: a.0002_y"
    assert unknown.summary() == "migrating 2: a.0002_y"
    told = json.loads(paths.progress.read_text())
    assert (told["step"], told["done"]) == ("schema", 2)


@pytest.mark.process
def test_an_existing_administrator_is_left_alone(deployment: Deployment) -> None:
    deployment.start()
    deployment.query("UPDATE auth_user SET password = 'changed by its owner'")
    assert deployment.start(MAAS_ADMIN_PASSWORD="something else", MAAS_ADMIN_EMAIL="new@example.com") == []
    assert deployment.query("SELECT password FROM auth_user") == [("changed by its owner",)]


@pytest.mark.process
def test_an_address_that_belongs_to_somebody_else_is_told(deployment: Deployment) -> None:
    deployment.start()
    with pytest.raises(MaasInitError) as refusal:
        deployment.start(MAAS_ADMIN_USERNAME="second", MAAS_ADMIN_EMAIL="Admin@example.com".lower())
    assert 'the user admin already has the e-mail address "admin@example.com"' in str(refusal.value)
    assert "MAAS_ADMIN_USERNAME to admin" in refusal.value.hint


@pytest.mark.process
def test_a_failing_command_is_told_without_secrets(deployment: Deployment) -> None:
    password = "it's $ecret %s"
    deployment.fails("dbupgrade", f"Traceback: {password!r} {password} {json.dumps(password)}\n")
    with pytest.raises(CommandFailed) as failure:
        deployment.start(POSTGRES_PASSWORD=password)
    assert 'Traceback: "********" ******** "********"' in str(failure.value)
    assert failure.value.__context__ is None
    assert not list(deployment.paths.run.glob("dbupgrade.*"))


@pytest.mark.process
def test_dns_is_set_up_again_only_when_something_is_missing(deployment: Deployment) -> None:
    deployment.start()
    key = deployment.paths.at("/etc/bind/maas/keys.conf.maas")
    key.write_text("kept")
    assert deployment.start() == []
    deployment.paths.at("/etc/bind/maas/named.conf.maas").write_text("")
    assert deployment.start() == ["setup-dns"]
    assert key.read_text() == "key"


@pytest.mark.process
def test_rndc_gets_a_key_that_nobody_else_may_read(deployment: Deployment) -> None:
    deployment.start()
    key = deployment.paths.at("/etc/bind/rndc.key")
    made = key.read_text()
    assert 'key "rndc-key" {' in made
    assert key.stat().st_mode & 0o7777 == 0o640
    deployment.start()
    assert key.read_text() == made


@pytest.mark.process
def test_maas_s_lines_are_added_to_a_configuration_of_named_from_elsewhere(deployment: Deployment) -> None:
    bind = deployment.paths.at("/etc/bind")
    (bind / "named.conf.local").write_text("// the operator's\n")
    (bind / "named.conf.options").write_text("options {\n    recursion yes;\n};\n")
    assert deployment.start()[2:5] == ["setup-dns", "get-named-conf", "edit-named-options"]
    assert (bind / "named.conf.local").read_text().splitlines()[0] == "// the operator's"
    assert "recursion yes;" in (bind / "named.conf.options").read_text()
    assert deployment.start() == []


@pytest.mark.process
def test_a_configuration_of_named_that_maas_cannot_edit_is_told(deployment: Deployment) -> None:
    (deployment.paths.at("/etc/bind") / "named.conf.options").write_text("// nothing\n")
    with pytest.raises(MaasInitError, match=r"cannot add MAAS's line to .*named\.conf\.options"):
        deployment.start()


@pytest.mark.process
def test_a_password_that_changed_is_changed_in_the_embedded_server(deployment: Deployment) -> None:
    deployment.start()
    assert deployment.start(POSTGRES_PASSWORD="another") == []
    assert deployment.regiond_conf()["database_pass"] == "another"


def killed_at(deployment: Deployment, step: str) -> None:
    """Run bootstrap in a process of its own, which dies by SIGKILL the moment it comes to `step`."""
    pid = os.fork()
    if pid == 0:

        def tell(_paths: Paths, now: str, *_: object, **__: object) -> None:
            if now == step:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(bootstrap)["tell"] = tell
        try:
            deployment.start()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.process
def test_being_killed_at_the_beginning_of_every_step_loses_and_doubles_nothing(deployment: Deployment) -> None:
    for step, _ in bootstrap.REGION_STEPS:
        killed_at(deployment, step)
    killed_at(deployment, "done")
    assert deployment.start() == []
    assert deployment.query("SELECT username FROM auth_user") == [("admin",)]
    assert deployment.query("SELECT count(*) > 3, count(*) = count(DISTINCT (app, name)) FROM django_migrations") == [
        (True, True)
    ]


@pytest.mark.process
def test_older_migrations_that_the_image_does_not_know_are_nothing_to_fear(deployment: Deployment) -> None:
    deployment.start()
    deployment.query(
        "INSERT INTO django_migrations (app, name) VALUES ('maasserver', '0200_squashed'), ('gone', '0001')"
    )
    assert deployment.start() == ["showmigrations", "dbupgrade"]


@pytest.mark.process
def test_two_containers_with_one_database_take_turns(deployment: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    deployment.start()
    with deployment.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", (reach.LOCK,))
        release = threading.Timer(0.5, other.close)
        release.start()
        assert deployment.start() == []
        release.join()
    told = capfd.readouterr().err
    assert "turn.awaited" in told
    assert f'holder="maas-init on {os.uname().nodename} (from a local socket, since 20' in told
    assert "turn.came" in told


def test_certificates_of_another_database_are_forgotten(deployment: Deployment) -> None:
    deployment.start()
    certificates = deployment.paths.maas_data / "certificates"
    certificates.mkdir(exist_ok=True)
    kept = [certificates / name for name in ("cacerts.pem", "cluster.key", "cluster.pem")]
    for file in kept:
        file.touch()
    deployment.start(MAAS_DNS_FORWARDER="192.0.2.7")
    assert all(file.exists() for file in kept), "the database is the same"
    deployment.start(POSTGRES_DB="other")
    assert not any(file.exists() for file in kept)


@pytest.fixture
def another_region(deployment: Deployment) -> Deployment:
    """A deployment whose database another region serves from."""
    deployment.start()
    deployment.query(
        "CREATE TABLE maasserver_node AS SELECT 1 AS id, 'abc123' AS system_id, 'elsewhere' AS hostname;"
        "CREATE TABLE maasserver_regioncontrollerprocess AS SELECT 1 AS region_id, 7 AS pid, now() AS updated"
    )
    return deployment


def test_schema_that_another_region_serves_from_is_left_alone(
    another_region: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    another_region.paths.journal.unlink()
    assert "dbupgrade" not in another_region.start()
    assert "schema.shared phase=bootstrap regions=elsewhere" in capfd.readouterr().err
    assert another_region.start() == []


def test_upgrade_waits_for_regions_that_serve_and_says_for_whom(
    another_region: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    (another_region.paths.maas_data / "next-version").touch()
    another_region.dpkg("1:3.5.99-0ubuntu1")
    with pytest.raises(MaasInitError, match="it is in use by the region controllers elsewhere"):
        another_region.start(MAAS_INIT_MIGRATION_TIMEOUT="1")
    assert "schema.in_use phase=bootstrap regions=elsewhere" in capfd.readouterr().err
    another_region.query("UPDATE maasserver_regioncontrollerprocess SET updated = now() - interval '91 seconds'")
    assert "dbupgrade" in another_region.start()


def test_upgrade_does_not_wait_for_what_this_region_itself_left(another_region: Deployment) -> None:
    (another_region.paths.maas_data / "maas_id").write_text("abc123\n")
    another_region.dpkg("1:3.5.99-0ubuntu1")
    assert "dbupgrade" in another_region.start(MAAS_INIT_MIGRATION_TIMEOUT="1")


@pytest.mark.process
def test_a_database_that_goes_away_half_way_is_no_reason_to_end_the_container(deployment: Deployment) -> None:
    deployment.start()
    deployment.query("ALTER TABLE auth_user RENAME TO gone")
    deployment.query(
        "CREATE FUNCTION leave() RETURNS boolean LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())'"
    )
    deployment.query("CREATE VIEW auth_user AS SELECT 'admin' AS username, leave() AS is_superuser")
    with pytest.raises(MaasInitError, match="the database went away half-way: terminating connection") as failure:
        deployment.start()
    assert failure.value.exit_code == ExitCode.FAILED, "75 would end the container; any other code is tried again"
