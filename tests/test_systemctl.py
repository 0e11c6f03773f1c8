"""The image's systemctl, called as people and MAAS call it, in a real container with toy services."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from harness import MAAS_INIT, Container, until

import maas_init
from maas_init import loglines, systemctl

pytestmark = pytest.mark.process

BRIDGE = Path(maas_init.__file__).parent / "bridge"
SINCE = r"since [A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+; [\w ]+ ago"


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    box = Container()
    box.service("bind9", critical="yes", unit="bind9", reloadable="yes", description="DNS server (named)")
    box.service("http", critical="yes", unit="maas-http", reloadable="yes")
    box.service("rackd", critical="yes", unit="maas-rackd")
    box.service("ntp", unit="chrony")
    box.service("plain")
    box.service("agent", start="request", unit="maas-agent", binds_to="rackd")
    box.service("dhcpd", start="request", unit="maas-dhcpd", condition_path_exists="/var/lib/maas/dhcpd.conf")
    box.service("slow", start="request", program={"startsecs": "1"})
    broken = {"command": "/bin/false", "startsecs": "1", "startretries": "0", "autorestart": "false"}
    box.service("broken", start="request", unit="maas-broken", program=broken)
    box.service("once", type="oneshot", program={"command": "/bin/true", "autorestart": "false"})
    box.service("proxy", start="request", unit="maas-proxy", reloadable="yes", probed=True)
    box.start()
    try:
        until(lambda: box.all_("healthy"))
        yield box
    finally:
        box.close()


@pytest.fixture
def works(shared: Container) -> Iterator[Container]:
    """The container; afterwards what always runs must run."""
    yield shared
    for name in ("bind9", "http", "rackd"):
        until(lambda name=name: shared.is_(name, "ready"))  # type: ignore[misc]


def environ(container: Container | Path, **more: str) -> dict[str, str]:
    root = container.root if isinstance(container, Container) else container
    return {"PATH": f"{BRIDGE}:{MAAS_INIT.parent}:{os.environ['PATH']}", "MAAS_INIT_ROOT": str(root)} | more


def run(container: Container | Path, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environ(container, **more), capture_output=True, text=True, check=False)


def say(container: Container | Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run systemctl as the image has it."""
    return run(container, "systemctl", *argv)


def active(container: Container, unit: str) -> str:
    return say(container, "is-active", unit).stdout.strip()


def as_maas_reads(output: str) -> tuple[str, str]:
    """Read the output of `status` as MAAS 3.5 does."""
    for line in map(str.strip, output.splitlines()):
        if line.startswith("Loaded") and line.split()[1] != "loaded":
            return "unknown", ""
        if line.startswith("Active"):
            _, state, rest = line.split(" ", 2)
            return state, rest.lstrip("(").split(")")[0]
    raise AssertionError(f"MAAS cannot parse {output!r}")


def heard(container: Container, what: str, name: str) -> int:
    return container.journal().count(f"{what} {name}")


# Telling.


@pytest.mark.parametrize("name", ["maas-http", "maas-http.service", "http", "http.service"])
@pytest.mark.parametrize("options", [(), ("--no-pager",), ("-l", "-n0"), ("--lines=50", "--no-pager", "--full")])
def test_status_of_what_runs(works: Container, name: str, options: Sequence[str]) -> None:
    done = say(works, "status", *options, name)
    assert (done.returncode, done.stderr) == (0, "")
    assert as_maas_reads(done.stdout) == ("active", "running")
    lines = done.stdout.splitlines()
    assert lines[0] == "● maas-http.service - http"
    assert lines[1] == "     Loaded: loaded (service http of maas-init; enabled)"
    assert re.fullmatch(rf"     Active: active \(running\) {SINCE}", lines[2]), lines[2]
    assert lines[3] == f"   Main PID: {works.of('http')['pid']}"
    assert lines[4:] == ['     Status: "http is ready"', "     Wanted: on by init (it is part of this container)"]


def test_status_of_what_is_off(works: Container) -> None:
    done = say(works, "status", "maas-agent")
    assert (done.returncode, done.stderr) == (3, "")
    assert as_maas_reads(done.stdout) == ("inactive", "dead")
    assert done.stdout.startswith(
        "○ maas-agent.service - agent\n     Loaded: loaded (service agent of maas-init; disabled)\n"
    )
    assert "     Active: inactive (dead)\n" in done.stdout
    assert "Main PID" not in done.stdout


def test_status_of_a_one_shot_that_ended_well(works: Container) -> None:
    done = say(works, "status", "once")
    assert (done.returncode, as_maas_reads(done.stdout)) == (0, ("active", "exited"))


@pytest.mark.parametrize("name", ["nonsense", "nonsense.service", "health", "volumes", "bind9.socket", "../bind9"])
def test_status_of_what_does_not_exist(works: Container, name: str) -> None:
    done = say(works, "status", name)
    assert done.returncode == 4
    assert done.stderr == f"Unit {name.removesuffix('.service')}.service could not be found.\n"
    assert as_maas_reads(done.stdout) == ("unknown", ""), "MAAS must not stumble over it"


def test_status_of_several_ends_with_the_first_bad_code(works: Container) -> None:
    done = say(works, "status", "bind9", "maas-agent", "nonsense")
    assert done.returncode == 3
    assert [line.split()[1] for line in done.stdout.splitlines() if ".service - " in line or line.startswith("○")] == [
        *("bind9.service", "maas-agent.service", "nonsense.service"),
    ]


def test_status_needs_no_particular_character_set(works: Container) -> None:
    done = run(works, "systemctl", "status", "bind9", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert as_maas_reads(done.stdout) == ("active", "running")


def test_status_without_a_unit_tells_about_the_container(works: Container) -> None:
    assert say(works, "status").stdout.startswith("healthy: ")
    assert say(works, "status").returncode == 0


@pytest.mark.parametrize(
    ("argv", "code", "printed"),
    [
        (("is-active", "bind9"), 0, "active\n"),
        (("is-active", "maas-agent"), 3, "inactive\n"),
        (("is-active", "nonsense"), 4, "inactive\n"),
        (("is-active", "maas-agent", "bind9"), 0, "inactive\nactive\n"),
        (("is-active", "--quiet", "bind9"), 0, ""),
        (("-q", "is-active", "maas-agent"), 3, ""),
        (("is-failed", "bind9"), 1, "active\n"),
        (("is-failed", "nonsense"), 1, "inactive\n"),
        (("is-enabled", "bind9"), 0, "enabled\n"),
        (("is-enabled", "maas-agent"), 1, "disabled\n"),
        (("is-enabled", "nonsense"), 4, "not-found\n"),
        (("show", "-p", "ActiveState", "maas-http"), 0, "ActiveState=active\n"),
        (("show", "bind9", "-pSubState", "--property=Id,X"), 0, "SubState=running\nId=bind9.service\n"),
        (("show", "--value", "-pActiveState", "maas-agent"), 0, "inactive\n"),
        (("show", "-p", "LoadState", "nonsense"), 0, "LoadState=not-found\n"),
        (("show", "-p", "Nonsense", "bind9"), 0, ""),
        (("show", "-p", "Id", "maas-http", "chrony"), 0, "Id=maas-http.service\n\nId=chrony.service\n"),
        (("show", "-p", "Names", "http"), 0, "Names=maas-http.service http.service\n"),
        (("show", "-p", "Description", "bind9"), 0, "Description=DNS server (named)\n"),
        (("--", "is-active", "bind9"), 0, "active\n"),
    ],
)  # fmt: skip
def test_questions_have_systemd_s_answers(works: Container, argv: Sequence[str], code: int, printed: str) -> None:
    done = say(works, *argv)
    assert (done.returncode, done.stdout, done.stderr) == (code, printed, "")


def test_show_tells_the_main_process(works: Container) -> None:
    assert say(works, "show", "-p", "MainPID", "bind9").stdout == f"MainPID={works.of('bind9')['pid']}\n"
    assert say(works, "show", "-p", "MainPID", "maas-agent").stdout == "MainPID=0\n"


@pytest.mark.parametrize("argv", [("list-units",), (), ("list-units", "--type=service", "--no-pager")])
def test_list_shows_what_is_active(works: Container, argv: Sequence[str]) -> None:
    done = say(works, *argv)
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"]
    assert rows[0].split(maxsplit=4) == ["bind9.service", "loaded", "active", "running", "DNS server (named)"]
    assert "maas-agent.service" not in done.stdout


def test_list_can_be_chosen(works: Container) -> None:
    assert "  maas-agent.service" in say(works, "list-units", "--all").stdout
    assert "volumes" not in say(works, "list-units", "-a").stdout
    assert say(works, "list-units", "-a", "--no-legend", "maas-a*").stdout.split()[:2] == [
        "maas-agent.service",
        "loaded",
    ]
    assert "bind9" not in say(works, "list-units", "--state=inactive").stdout
    assert say(works, "list-units", "--type=socket", "--no-legend").stdout == ""


# Asking.


def test_stop_and_start_are_done_when_they_return(works: Container) -> None:
    for _ in range(3):
        done = say(works, "stop", "maas-http")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert as_maas_reads(say(works, "status", "maas-http").stdout) == ("inactive", "dead")
        assert works.of("http")["desired"]["on"] is False
        done = say(works, "start", "maas-http")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert as_maas_reads(say(works, "status", "maas-http").stdout) == ("active", "running")


def test_start_waits_until_the_service_runs(works: Container) -> None:
    began = time.monotonic()
    assert say(works, "start", "slow").returncode == 0
    assert time.monotonic() - began > 0.9
    assert active(works, "slow") == "active"
    assert say(works, "stop", "slow").returncode == 0


def test_start_need_not_wait(works: Container) -> None:
    assert say(works, "start", "--no-block", "slow").returncode == 0
    assert active(works, "slow") in ("inactive", "activating")
    until(lambda: active(works, "slow") == "active")
    assert say(works, "stop", "slow").returncode == 0


def test_start_of_what_runs_does_nothing(works: Container) -> None:
    before = works.of("bind9")["pid"]
    assert say(works, "start", "bind9").returncode == 0
    assert works.of("bind9")["pid"] == before


def test_restart_gives_a_new_process(works: Container) -> None:
    before = works.of("bind9")["pid"]
    assert say(works, "restart", "bind9").returncode == 0
    assert active(works, "bind9") == "active"
    assert works.of("bind9")["pid"] not in (None, before)


def test_start_that_fails_says_why(works: Container) -> None:
    done = say(works, "start", "maas-broken")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Job for maas-broken.service failed: cannot start broken: ")
    assert "right after its start" in done.stderr
    state = until(lambda: as_maas_reads(say(works, "status", "maas-broken").stdout))
    assert state[0] in ("failed", "activating")  # it is tried again all the time
    # Stopped in the moment of a try it would not have failed but been stopped: the pauses must have grown.
    until(lambda: works.of("broken")["failed"] >= 8 and works.of("broken")["process"] not in ("STARTING", "RUNNING"))
    assert say(works, "stop", "maas-broken").returncode == 0
    done = say(works, "status", "maas-broken")
    assert (done.returncode, as_maas_reads(done.stdout)) == (3, ("failed", "Result: exit-code"))
    assert re.search(rf"Active: failed \(Result: exit-code\) {SINCE}\n", done.stdout)
    assert (say(works, "is-failed", "maas-broken").returncode, active(works, "maas-broken")) == (0, "failed")
    assert "maas-broken.service" in say(works, "list-units", "--failed").stdout


def test_start_without_its_configuration_says_what_it_waits_for(works: Container) -> None:
    done = say(works, "start", "maas-dhcpd")
    assert done.returncode == 1
    assert "dhcpd.conf does not exist yet" in done.stderr
    assert as_maas_reads(say(works, "status", "maas-dhcpd").stdout) == ("inactive", "dead")
    assert say(works, "stop", "maas-dhcpd").returncode == 0


@pytest.mark.parametrize("verb", systemctl.JOBS)
def test_unknown_unit_is_told_and_the_others_are_served(works: Container, verb: str) -> None:
    done = say(works, verb, "nonsense")
    assert (done.returncode, done.stdout) == (5, "")
    assert re.fullmatch(
        r"Failed to [a-z-]+ nonsense\.service: Unit nonsense\.service not (found|loaded)\.\n", done.stderr
    )


def test_several_units_are_served_at_once(works: Container) -> None:
    done = say(works, "start", "maas-agent", "nonsense", "slow")
    assert done.returncode == 5
    assert active(works, "maas-agent") == active(works, "slow") == "active"
    assert say(works, "stop", "maas-a*", "slow.service").returncode == 0
    assert active(works, "maas-agent") == active(works, "slow") == "inactive"
    assert active(works, "bind9") == "active"


@pytest.mark.parametrize("verb", ["try-restart", "condrestart", "try-reload-or-restart", "reload-or-try-restart"])
def test_try_leaves_alone_what_is_off(works: Container, verb: str) -> None:
    assert say(works, verb, "maas-agent").returncode == 0
    assert active(works, "maas-agent") == "inactive"
    assert works.of("agent")["desired"]["on"] is False


@pytest.mark.parametrize("verb", ["try-restart", "reload-or-restart", "force-reload", "try-reload-or-restart"])
def test_what_cannot_reload_is_restarted(works: Container, verb: str) -> None:
    before = works.of("rackd")["pid"]
    assert say(works, verb, "maas-rackd").returncode == 0
    assert works.of("rackd")["pid"] not in (None, before)


@pytest.mark.parametrize("verb", ["reload", "reload-or-restart", "try-reload-or-restart"])
def test_what_can_reload_hears_hup_and_lives_on(works: Container, verb: str) -> None:
    until(lambda: heard(works, "started", "http") == works.of("http")["restarts"] + 1)
    before, hups = works.of("http")["pid"], heard(works, "SIGHUP", "http")
    assert say(works, verb, "maas-http").returncode == 0
    until(lambda: heard(works, "SIGHUP", "http") == hups + 1)
    assert works.of("http")["pid"] == before


def test_reload_of_what_would_die_of_it_is_refused(works: Container) -> None:
    done = say(works, "reload", "maas-rackd")
    assert done.returncode == 3
    assert "Job type reload is not applicable for unit maas-rackd.service." in done.stderr


def test_reload_of_what_is_off_is_refused(works: Container) -> None:
    done = say(works, "reload", "maas-proxy")
    assert (done.returncode, done.stderr) == (1, "maas-proxy.service is not active, cannot reload.\n")
    assert active(works, "maas-proxy") == "inactive"


def test_kill_as_maas_kills_bind9(works: Container) -> None:
    before = works.of("bind9")["pid"]
    assert say(works, "kill", "-s", "SIGKILL", "bind9").returncode == 0
    until(lambda: works.of("bind9")["pid"] not in (None, before))
    assert say(works, "start", "bind9").returncode == 0


@pytest.mark.parametrize(
    "options", [("-s", "USR1"), ("--signal=SIGUSR1",), ("-s10",), ("--kill-who=main", "-s", "USR1")]
)
def test_kill_sends_the_signal_that_was_named(works: Container, options: Sequence[str]) -> None:
    until(lambda: heard(works, "started", "http") == works.of("http")["restarts"] + 1)
    before = heard(works, "SIGUSR1", "http")
    assert say(works, "kill", *options, "maas-http").returncode == 0
    until(lambda: heard(works, "SIGUSR1", "http") == before + 1)


def test_kill_of_what_is_off_is_no_failure(works: Container) -> None:
    done = say(works, "kill", "-s", "SIGKILL", "maas-agent")
    assert (done.returncode, done.stderr) == (0, "maas-agent.service has no process to kill.\n")
    assert say(works, "kill", "nonsense").returncode == 1
    assert say(works, "kill", "-s", "NONSENSE", "bind9").returncode == 1
    assert say(works, "kill", "-s", "999", "bind9").returncode == 1


def test_enable_and_disable_say_that_they_change_nothing(works: Container) -> None:
    for verb in ("enable", "disable", "daemon-reload"):
        done = say(works, verb, *(() if verb == "daemon-reload" else ("bind9",)))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith(f"{verb} changes nothing here: ")
    assert say(works, "enable", "--quiet", "bind9").stderr == ""
    assert say(works, "enable", "nonsense").returncode == 1
    assert active(works, "bind9") == "active"


def test_enable_now_starts_and_disable_now_stops(works: Container) -> None:
    assert say(works, "enable", "--now", "maas-agent").returncode == 0
    assert active(works, "maas-agent") == "active"
    assert say(works, "disable", "--now", "maas-agent").returncode == 0
    assert active(works, "maas-agent") == "inactive"


def test_what_was_stopped_stays_stopped(works: Container) -> None:
    assert say(works, "stop", "chrony").returncode == 0
    assert works.of("ntp")["desired"] | {"at": 0, "moment": 0} == {
        "on": False,
        "owner": "operator",
        "reason": "stop asked over the Pebble API",
        "at": 0,
        "moment": 0,
    }
    assert "Wanted: off by operator" in say(works, "status", "chrony").stdout
    before = works.pid("health")
    works.signal(signal.SIGKILL, "health")
    until(lambda: works.pid("health") not in (0, before))
    assert say(works, "restart", "plain").returncode == 0, "it waits for the listener to come back"
    assert active(works, "chrony") == "inactive"
    assert say(works, "start", "chrony").returncode == 0


# Through sudo.


@pytest.fixture
def sudoers(tmp_path: Path) -> str:
    rules = ("status bind9", "start bind9", "kill -s SIGKILL bind9", "restart maas-rackd", "reload maas-http")
    text = "".join(f"maas ALL= NOPASSWD: /bin/systemctl {rule}\n" for rule in rules)
    (tmp_path / "99-maas-common-sudoers").write_text(text)
    return str(tmp_path)


def test_maas_asks_through_sudo(works: Container, sudoers: str) -> None:
    def sudo(*argv: str) -> subprocess.CompletedProcess[str]:
        return run(works, "sudo", *argv, MAAS_INIT_SUDOERS=sudoers, LC_ALL="C.UTF-8", LANG="C.UTF-8")

    done = sudo("--non-interactive", "systemctl", "status", "bind9")
    assert (done.returncode, as_maas_reads(done.stdout)) == (0, ("active", "running"))
    before = works.of("rackd")["pid"]
    assert sudo("systemctl", "restart", "maas-rackd").returncode == 0
    assert works.of("rackd")["pid"] not in (None, before)
    assert sudo("--non-interactive", "systemctl", "reload", "maas-http").returncode == 0
    assert sudo("--non-interactive", "systemctl", "kill", "-s", "SIGKILL", "bind9").returncode == 0
    done = sudo("--non-interactive", "systemctl", "stop", "bind9")
    assert done.returncode == 1
    assert done.stderr.startswith("sudo: ")


def test_what_maas_s_daemons_run_speaks_for_maas_and_people_for_themselves(works: Container, sudoers: str) -> None:
    daemon = works.root / "rackd"
    daemon.write_text("#!/bin/sh\nsudo --non-interactive systemctl restart maas-rackd\nexit $?\n")
    daemon.chmod(0o755)
    variables = environ(works, MAAS_INIT_SUDOERS=sudoers)
    inside = ("env", *(f"{name}={value}" for name, value in variables.items()))
    assert works.inside(*inside, str(daemon)).returncode == 0
    assert works.of("rackd")["desired"]["owner"] == "MAAS"
    shell = ("sh", "-c", "ls /usr/sbin/regiond /usr/sbin/rackd; systemctl restart maas-rackd")
    assert works.inside(*inside, *shell).returncode == 0
    assert works.of("rackd")["desired"]["owner"] == "operator", "also when they speak of MAAS's daemons"


# Without sense, and without a container.


@pytest.mark.parametrize(
    "argv",
    [("explode",), ("explode", "bind9"), ("--nonsense", "status"), ("start",), ("is-active",), ("--user", "status")],
)
def test_command_without_sense_is_refused(works: Container, argv: Sequence[str]) -> None:
    done = say(works, *argv)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("maas-init: cannot ")
    assert "Traceback" not in done.stderr


def test_help_names_every_verb(tmp_path: Path) -> None:
    done = say(tmp_path, "--help")
    assert done.returncode == 0
    for verb in systemctl.VERBS:
        assert re.search(rf"\b{verb}[,.]", done.stdout), verb


@pytest.mark.parametrize("argv", [("status", "bind9"), ("start", "bind9"), ("is-active", "bind9"), ("list-units",)])
def test_nothing_is_known_before_the_listener_spoke(tmp_path: Path, argv: Sequence[str]) -> None:
    done = say(tmp_path, *argv)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the health listener has not written it yet" in done.stderr


def test_old_news_are_told_with_a_warning(works: Container, tmp_path: Path) -> None:
    status = works.status()
    (tmp_path / "run/maas-init").mkdir(parents=True)
    (tmp_path / "run/maas-init/status.json").write_text(json.dumps(status | {"uptime": status["uptime"] - 45}))
    done = say(tmp_path, "is-active", "bind9")
    assert (done.returncode, done.stdout) == (0, "active\n")
    assert re.fullmatch(r"The health listener has said nothing for \d+ s; this is what it said last\.\n", done.stderr)


def test_reader_that_goes_away_does_no_harm(works: Container) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(["systemctl", "status", "bind9"], env=environ(works), stdout=write, stderr=-1, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_interrupted_wait_ends_quietly(works: Container) -> None:
    process = subprocess.Popen(["systemctl", "start", "slow"], env=environ(works), stderr=subprocess.PIPE)
    until(lambda: works.of("slow")["process"] == "STARTING")
    process.send_signal(signal.SIGINT)
    assert (process.communicate()[1], process.returncode) == (b"", 130)
    assert say(works, "stop", "slow").returncode == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0s"), (59, "59s"), (61, "1min 1s"), (3700, "1h 1min"), (90000, "1 day 1h"), (180000, "2 days 2h")],
)
def test_time_is_told_as_systemd_tells_it(seconds: int, words: str) -> None:
    assert loglines.ago(seconds) == words
