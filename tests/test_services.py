from __future__ import annotations

import configparser
import dataclasses
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_init import services
from maas_init.errors import ExitCode, ServiceFileError
from maas_init.paths import Paths
from maas_init.probes import probes
from maas_init.services import Action, Catalogue, Check, Service
from maas_init.settings import Settings

OURS = Path(__file__).parent.parent / "supervisord.conf.d"
BOTH = ("region", "rack")
LISTENER = "[eventlistener:health]\ncommand = /bin/listen\nevents = TICK_5\n"
PROGRAM = "[program:{0}]\ncommand = /bin/{0}\nautostart = false\n"


def write(directory: Path, **texts: str) -> Path:
    """Write service files, beside that of the listener."""
    (directory / "health.conf").write_text(LISTENER)
    for name, text in texts.items():
        (directory / f"{name}.conf").write_text(dedent(text))
    return directory


def service(directory: Path, **keys: str) -> Service:
    """Return what a file with these keys describes."""
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    write(directory, one=PROGRAM.format("one") + "[service:one]\n" + lines)
    (found,) = services.read_file(directory / "one.conf")
    return found


def read(directory: Path, environment: Mapping[str, str] | None = None, roles: tuple[str, ...] = BOTH) -> Catalogue:
    return services.read(directory, roles=roles, environment=environment or {})


def refusal(directory: Path) -> str:
    with pytest.raises(ServiceFileError) as caught:
        read(directory)
    assert caught.value.exit_code is ExitCode.BAD_SETTINGS
    return str(caught.value)


# One file.


def test_file_that_says_little_gives_the_defaults(tmp_path: Path) -> None:
    assert service(tmp_path) == Service(name="one")


def test_file_that_says_everything_is_understood(tmp_path: Path) -> None:
    found = service(
        tmp_path,
        description="The one: a, b",
        unit="maas-one",
        roles="rack",
        type="oneshot",
        start="request",
        requires="two three",
        binds_to="four",
        condition_path_exists="/a /b",
        condition_environment="POSTGRES_HOST=embedded EMPTY=",
        critical="yes",
        check="http http://127.0.0.1:1/ 200",
        check_every="0.5",
        check_within="1",
        check_threshold="7",
        start_within="180",
        on_failure="shutdown",
        on_check_failure="restart",
    )
    assert found == Service(
        name="one",
        description="The one: a, b",
        unit="maas-one",
        roles=frozenset({"rack"}),
        oneshot=True,
        on_request=True,
        requires=("two", "three"),
        binds_to=("four",),
        condition_path_exists=("/a", "/b"),
        condition_environment=(("POSTGRES_HOST", "embedded"), ("EMPTY", "")),
        critical=True,
        check=Check("http", ("http://127.0.0.1:1/", "200"), 0.5, 1.0, 7, 180.0),
        on_failure=Action.SHUTDOWN,
        on_check_failure=Action.RESTART,
    )


def test_what_a_service_is_given_is_understood(tmp_path: Path) -> None:
    found = service(
        tmp_path,
        ambient_capabilities="net_bind_service net_raw",
        capabilities="net_raw",
        pass_environment="PEBBLE https_proxy",
    )
    assert found.ambient_capabilities == ("net_bind_service", "net_raw")
    assert found.capabilities == ("net_raw",)
    assert found.pass_environment == ("PEBBLE", "https_proxy")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("ambient_capabilities = sys_admin", "give some of net_bind_service, net_raw"),
        ("ambient_capabilities = net_raw\ncapabilities = net_bind_service", "ambient_capabilities is net_raw"),
        ("capabilities = net_raw", "ambient_capabilities is empty"),
        ("pass_environment = A=b", "give names of variables"),
    ],
)
def test_what_a_service_cannot_be_given_is_refused(tmp_path: Path, keys: str, told: str) -> None:
    write(tmp_path, one=PROGRAM.format("one") + f"[service:one]\n{keys}\n")
    assert told in refusal(tmp_path)


@pytest.mark.parametrize("key", ["ambient_capabilities = net_raw", "pass_environment = PEBBLE"])
def test_check_is_given_nothing(tmp_path: Path, key: str) -> None:
    write(tmp_path, one=f"[check:one]\ncheck = writable /a\n{key}\n")
    assert "a check has no process" in refusal(tmp_path)


def test_our_services_are_given_no_secret() -> None:
    named = {name for each in read(OURS, {"POSTGRES_HOST": "embedded"}).services for name in each.pass_environment}
    assert named == {"PEBBLE"}


def test_check_is_watched_without_a_process(tmp_path: Path) -> None:
    write(tmp_path, one="[check:volumes]\ncheck = writable /a /b\ncritical = yes\n")
    (found,) = services.read_file(tmp_path / "one.conf")
    assert found.watched_only
    assert found.check == Check("writable", ("/a", "/b"))


def test_supervisord_s_own_words_are_left_alone(tmp_path: Path) -> None:
    """Its files hold percent signs, comments behind values and values over several lines."""
    write(
        tmp_path,
        one="""\
            ; a comment
            [program:one]
            command = /bin/sh -ec '
                echo %(program_name)s; exec one'   ; another
            autostart = false
            environment = A="%%",B="c;d"
            [service:one]
            description = One ; and a comment
            critical = yes  # and another
        """,
    )
    (found,) = services.read_file(tmp_path / "one.conf")
    assert (found.description, found.critical) == ("One", True)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("type", "forking", "simple, oneshot"),
        ("start", "later", "boot, request"),
        ("roles", "region worker", "region, rack or both"),
        ("critical", "true", "yes, no"),
        ("check_every", "often", "a number greater than 0"),
        ("check_every", "0", "a number greater than 0"),
        ("check_within", "-1", "a number greater than 0"),
        ("check_threshold", "nan", "a number greater than 0"),
        ("start_within", "", "a number greater than 0"),
        ("on_failure", "explode", "restart, shutdown"),
        ("on_check_failure", "explode", "ignore, restart, shutdown"),
        ("require", "two", "no such key; the keys are "),
    ],
)
def test_value_that_cannot_be_used_is_told_with_what_is_wanted(
    key: str, value: str, wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(ServiceFileError) as caught:
        service(tmp_path, **({"check": "tcp a 1"} | {key: value}))
    assert str(caught.value).startswith(f'cannot use {tmp_path}/one.conf: [service:one] {key} is "{value}"')
    assert wanted in str(caught.value)


@pytest.mark.parametrize("value", ["0.5", "inf", "1e400"])
def test_threshold_is_a_whole_number(value: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceFileError):
        service(tmp_path, check="tcp a 1", check_threshold=value)


def test_program_without_a_service_is_refused(tmp_path: Path) -> None:
    assert "[program:one] has no [service:one] beside it" in refusal(write(tmp_path, one=PROGRAM.format("one")))


def test_service_without_a_program_is_refused(tmp_path: Path) -> None:
    assert "[service:one] has no [program:one] beside it" in refusal(write(tmp_path, one="[service:one]\n"))


@pytest.mark.parametrize("text", ["no section", "[unfinished\n", "[program:one]\nneither\n", "[a]\n\0=\0\n"])
def test_file_that_is_no_such_file_is_refused_by_name(text: str, tmp_path: Path) -> None:
    write(tmp_path, one=text + "\n[service:x]\n")
    assert f"{tmp_path}/one.conf" in refusal(tmp_path)


def test_file_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_bytes(b"\xff\xfe")
    assert f"cannot read {tmp_path}/one.conf" in refusal(tmp_path)


@given(st.text(max_size=200), st.sampled_from(["[program:one]\n", "[service:one]\n", "[check:one]\n", ""]))
def test_any_text_is_understood_or_refused(text: str, title: str) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "one.conf"
        file.write_text(f"[program:one]\ncommand = one\n{title}{text}\n[service:one]\n", errors="replace")
        try:
            services.read_file(file)
        except ServiceFileError as error:
            assert str(file) in str(error)


# All files together.


def test_service_files_are_read_in_any_order_of_need(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=PROGRAM.format("a") + "[service:a]\nrequires = b",
        b=PROGRAM.format("b") + "[service:b]",
    )
    found = read(tmp_path)
    assert [each.name for each in found.services] == ["a", "b"]
    assert found.files == (tmp_path / "a.conf", tmp_path / "b.conf", tmp_path / "health.conf")
    assert "a" in found
    assert "c" not in found
    assert found["a"].requires == ("b",)
    assert found.dependants("b") == ("a",)


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "README").write_text("not a service file")
    (tmp_path / "one.conf.bak").write_text("not a service file")
    assert read(tmp_path) == Catalogue((), (tmp_path / "health.conf",))


def test_file_of_a_later_directory_takes_the_place_of_its_namesake(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        for file in ("a.conf", f"{name}.conf"):
            (tmp_path / name / file).touch()
    found = services.service_files(tmp_path / "ours", tmp_path / "theirs", tmp_path / "missing")
    assert [str(file.relative_to(tmp_path)) for file in found] == [
        "theirs/a.conf",
        "ours/ours.conf",
        "theirs/theirs.conf",
    ]


def test_program_that_supervisord_would_start_itself_is_refused(tmp_path: Path) -> None:
    told = refusal(write(tmp_path, one="[program:one]\ncommand = /bin/true\n[service:one]\n"))
    assert 'one.conf: [program:one] autostart is "true"' in told


def test_file_with_only_an_event_listener_is_included(tmp_path: Path) -> None:
    """supervisord has to be told of it, although there is nothing in it for us."""
    write(tmp_path, listener="[eventlistener:mine]\ncommand = /bin/mine\nevents = TICK_5\n")
    assert read(tmp_path).files == (tmp_path / "health.conf", tmp_path / "listener.conf")


def test_nothing_can_run_without_the_health_listener(tmp_path: Path) -> None:
    write(tmp_path, one=PROGRAM.format("one") + "[service:one]")
    (tmp_path / "health.conf").unlink()
    assert f"cannot use {tmp_path}: " in refusal(tmp_path)
    assert "[eventlistener:health]" in refusal(tmp_path)


def test_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert f"cannot use {tmp_path}/absent: " in refusal(tmp_path / "absent")


def test_name_twice_is_refused_with_both_files(tmp_path: Path) -> None:
    text = PROGRAM.format("a") + "[service:a]"
    told = refusal(write(tmp_path, one=text, two=text))
    assert "a is already in" in told
    assert "one.conf" in told
    assert "two.conf" in told


@pytest.mark.parametrize("key", ["requires", "binds_to"])
def test_need_that_nobody_describes_is_refused(key: str, tmp_path: Path) -> None:
    told = refusal(write(tmp_path, a=PROGRAM.format("a") + f"[service:a]\n{key} = nobody"))
    assert "a requires nobody, which no file describes" in told
    assert "the services are a" in told


@pytest.mark.parametrize("key", ["requires", "binds_to"])
def test_circle_is_refused_with_its_members(key: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        a=PROGRAM.format("a") + f"[service:a]\n{key} = b",
        b=PROGRAM.format("b") + "[service:b]\nrequires = c",
        c=PROGRAM.format("c") + "[service:c]\nrequires = a",
        d=PROGRAM.format("d") + "[service:d]",
    )
    assert "a, b, c wait for each other" in refusal(tmp_path)


def test_service_that_needs_itself_is_refused(tmp_path: Path) -> None:
    assert "wait for each other" in refusal(write(tmp_path, a=PROGRAM.format("a") + "[service:a]\nrequires = a"))


def test_roles_choose_services(tmp_path: Path) -> None:
    write(
        tmp_path,
        both=PROGRAM.format("both") + "[service:both]\nrequires = region",
        region=PROGRAM.format("region") + "[service:region]\nroles = region",
        rack=PROGRAM.format("rack") + "[service:rack]\nroles = rack\nbinds_to = region",
    )
    found = read(tmp_path, roles=("rack",))
    assert [each.name for each in found.services] == ["both", "rack"]
    assert found["both"].requires == (), "what this container does not have cannot be waited for"
    assert found["rack"].binds_to == ()
    assert found.files == (tmp_path / "both.conf", tmp_path / "health.conf", tmp_path / "rack.conf")


def test_settings_choose_services(tmp_path: Path) -> None:
    write(tmp_path, db=PROGRAM.format("db") + "[service:db]\ncondition_environment = POSTGRES_HOST=embedded")
    assert "db" in read(tmp_path, {"POSTGRES_HOST": "embedded"})
    assert "db" not in read(tmp_path, {"POSTGRES_HOST": "db.example.com"})
    assert "db" not in read(tmp_path)


def test_service_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Service(name="a").name = "b"  # type: ignore[misc]


# The files of the image.

NAMES = {
    *("bootstrap", "tls", "postgresql", "bind9", "http", "proxy", "syslog", "ntp", "discovery"),
    *("regiond", "apiserver", "temporal", "temporal-worker", "rackd", "agent", "dhcpd", "dhcpd6"),
}


@pytest.fixture(scope="module")
def ours() -> Catalogue:
    return read(OURS, {"POSTGRES_HOST": "embedded"})


def test_empty_file_of_an_operator_leaves_a_service_of_ours_out(ours: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "discovery.conf").touch()
    found = services.read(OURS, tmp_path, roles=services.ROLES, environment={"POSTGRES_HOST": "embedded"})
    assert {each.name for each in ours.services} - {each.name for each in found.services} == {"discovery"}


def test_our_services_have_maas_s_names(ours: Catalogue) -> None:
    assert {each.name for each in ours.services if not each.watched_only} == NAMES


def test_our_database_server_runs_only_when_it_is_embedded() -> None:
    assert "postgresql" not in read(OURS, {"POSTGRES_HOST": "postgres"})


def test_our_services_describe_themselves(ours: Catalogue) -> None:
    assert not [each.name for each in ours.services if not each.description]


def test_every_program_but_the_one_shots_is_started_again_however_it_ends() -> None:
    """Temporal's worker ends with status 0 when Temporal does not answer."""
    for file in OURS.glob("*.conf"):
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
        parser.read(file)
        for title in parser:
            kind, _, name = title.partition(":")
            if kind == "program":
                wanted = "false" if parser[f"service:{name}"].get("type") == "oneshot" else "true"
                assert parser[title]["autorestart"] == wanted, name


def test_our_dhcp_servers_wait_until_maas_asks(ours: Catalogue) -> None:
    assert {each.name for each in ours.services if each.on_request} == {"dhcpd", "dhcpd6", "agent"}
    for name in ("dhcpd", "dhcpd6"):
        assert ours[name].binds_to == ("rackd",)
        assert ours[name].condition_path_exists


def test_nothing_of_ours_is_started_by_supervisord_itself() -> None:
    for file in OURS.glob("*.conf"):
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
        parser.read(file)
        for title in parser:
            if title.startswith("program:"):
                assert parser[title]["autostart"] == "false", f"{title}: the listener starts it in its turn"
                assert parser[title]["stdout_logfile"] == f"/var/log/maas/{file.stem}.log", title
                assert parser[title]["redirect_stderr"] == "true", title


def test_our_services_are_told_to_stop_in_less_than_docker_s_patience() -> None:
    for file in OURS.glob("*.conf"):
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
        parser.read(file)
        for title in parser:
            if title.startswith(("program:", "eventlistener:")):
                assert 1 <= parser[title].getint("stopwaitsecs", 10) < 10, title


def test_our_probes_exist(ours: Catalogue) -> None:
    known = probes(
        Settings.from_environ(
            {
                "POSTGRES_PASSWORD": "a",
                "MAAS_URL": "http://maas/MAAS",
                "MAAS_ADMIN_PASSWORD": "a",
                "MAAS_ADMIN_EMAIL": "a@b.c",
            }
        ),
        Paths(),
    )
    assert {each.check.kind for each in ours.services if each.check} <= known.keys()


def test_everything_of_ours_waits_for_the_first_steps(ours: Catalogue) -> None:
    """No daemon of MAAS may see the database before its schema is ready."""

    def needs(name: str) -> set[str]:
        direct = {*ours[name].requires, *ours[name].binds_to}
        return direct.union(*map(needs, direct)) if direct else direct

    for name in ("regiond", "apiserver", "temporal", "temporal-worker", "rackd", "bind9"):
        assert {"bootstrap", "postgresql", "volumes"} <= needs(name), name


def program(name: str) -> configparser.SectionProxy:
    """Return what supervisord reads of a service of ours."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(OURS / f"{name}.conf")
    return parser[f"program:{name}"]


@pytest.mark.parametrize("name", ["regiond", "rackd"])
def test_regiond_and_rackd_are_kept_off_uvloop(name: str) -> None:
    assert 'PYTHONPATH="/usr/lib/maas-init/without-uvloop"' in program(name)["environment"].split(",")


def test_rackd_forgets_the_dhcp_configuration_of_its_last_run(tmp_path: Path) -> None:
    for left in ("dhcpd.sock", "dhcpd.conf", "dhcpd6.conf", "maas_id"):
        (tmp_path / left).touch()
    command = program("rackd")["command"].replace("/usr/sbin/rackd", "ls /var/lib/maas")
    argv = shlex.split(command.replace("/var/lib/maas", str(tmp_path)))
    assert subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout == "maas_id\n"


def test_squid_is_stopped_without_waiting_for_its_clients() -> None:
    assert program("proxy")["stopsignal"] == "INT"
