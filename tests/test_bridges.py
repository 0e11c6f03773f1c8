"""What guests say to the system, said to us: real shell scripts, run as guests run them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest
from harness import until

import maas_init
from maas_init import probes

BRIDGE = Path(maas_init.__file__).parent / "bridge"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
"""Ubuntu's and Debian's /bin/sh is dash."""


def script(
    name: str, *argv: str, shell: str = "sh", stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run one of our scripts."""
    command = [*(("busybox", "sh") if shell == "busybox" else (shell,)), str(BRIDGE / name), *argv]
    environ = {"PATH": os.environ["PATH"]} | environ
    return subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, check=False)


# healthcheck.sh


def uptime() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def healthcheck(file: Path, shell: str = "sh") -> tuple[int, str]:
    done = script("healthcheck.sh", shell=shell, MAAS_INIT_HEALTH=str(file))
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1, "Docker shows one line best"
    return done.returncode, done.stdout.rstrip("\n")


@pytest.mark.parametrize(
    ("level", "code"), [("healthy", 0), ("degraded", 0), ("unhealthy", 1), ("starting", 1), ("stopping", 1), ("odd", 1)]
)
def test_healthcheck_tells_the_level_and_the_reason(level: str, code: int, shell: str, tmp_path: Path) -> None:
    (tmp_path / "health").write_text(f"{level} {uptime()} bind9 is down: exited with 3\n")
    assert healthcheck(tmp_path / "health", shell) == (code, f"{level}: bind9 is down: exited with 3")


def test_healthcheck_refuses_a_stale_file(shell: str, tmp_path: Path) -> None:
    (tmp_path / "health").write_text(f"healthy {uptime() - 31} all is well\n")
    code, told = healthcheck(tmp_path / "health", shell)
    assert code == 1
    assert told.startswith("unhealthy: the health listener has said nothing for 3")
    assert told.endswith("last: healthy: all is well")


def test_healthcheck_accepts_a_file_that_is_not_yet_stale(tmp_path: Path) -> None:
    (tmp_path / "health").write_text(f"healthy {max(0, uptime() - 20)} all is well\n")
    assert healthcheck(tmp_path / "health")[0] == 0


def test_healthcheck_refuses_a_file_from_before_the_machine_s_last_start(tmp_path: Path) -> None:
    """Uptime begins anew then: what was written later than now was written in another life."""
    (tmp_path / "health").write_text(f"healthy {uptime() + 1000} all is well\n")
    code, told = healthcheck(tmp_path / "health")
    assert (code, told.split(":")[0]) == (1, "unhealthy")


def test_healthcheck_refuses_a_missing_file(shell: str, tmp_path: Path) -> None:
    code, told = healthcheck(tmp_path / "absent", shell)
    assert code == 1
    assert told.startswith(f"unhealthy: {tmp_path}/absent is not there yet")


@pytest.mark.parametrize(
    "content",
    [
        *("", "\n", "healthy", "healthy\n", "healthy now all is well\n", "healthy -5 well\n", "healthy 1.5 well\n"),
        *("healthy 0x10 well\n", "healthy $(id) well\n", "healthy 99999999999999999999999 well\n", "\0\0\0\n"),
        *('{"level": "healthy"}\n', "healthy 5", "healthy 09 well\n"),
    ],
)
def test_healthcheck_refuses_a_garbled_file(content: str, shell: str, tmp_path: Path) -> None:
    (tmp_path / "health").write_text(content)
    done = script("healthcheck.sh", shell=shell, MAAS_INIT_HEALTH=str(tmp_path / "health"))
    assert done.returncode == 1
    assert done.stdout.startswith("unhealthy: ")


def test_healthcheck_refuses_a_directory(shell: str, tmp_path: Path) -> None:
    done = script("healthcheck.sh", shell=shell, MAAS_INIT_HEALTH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith("unhealthy: ")


def test_healthcheck_does_not_understand_the_reason(shell: str, tmp_path: Path) -> None:
    """Whatever is in it is printed as it is."""
    awkward = "$(touch hacked) `id` \\n % * ; 'quote \"quote -n"
    (tmp_path / "health").write_text(f"healthy {uptime()} {awkward}\n")
    done = script("healthcheck.sh", shell=shell, MAAS_INIT_HEALTH=str(tmp_path / "health"))
    assert done.returncode == 0
    assert done.stdout.startswith("healthy: $(touch hacked) `id` ")
    assert not (tmp_path / "hacked").exists()


def test_healthcheck_starts_no_program(tmp_path: Path) -> None:
    (tmp_path / "health").write_text(f"healthy {uptime()} all is well\n")
    done = subprocess.run(
        ["/bin/sh", BRIDGE / "healthcheck.sh"],
        env={"PATH": "/nonexistent", "MAAS_INIT_HEALTH": str(tmp_path / "health")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# systemd-detect-virt


@pytest.mark.parametrize("argv", [(), ("-c",), ("--container",)])
def test_detect_virt_says_that_this_is_a_container(argv: Sequence[str], shell: str) -> None:
    done = script("systemd-detect-virt", *argv, shell=shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "docker\n", "")


@pytest.mark.parametrize("argv", [("-q",), ("--quiet",), ("-c", "-q"), ("-q", "-c"), ("-cq",)])
def test_detect_virt_is_quiet_when_asked(argv: Sequence[str]) -> None:
    done = script("systemd-detect-virt", *argv)
    assert (done.returncode, done.stdout) == (0, "")


# sudo

SUDOERS = {
    "99-maas-common-sudoers": """\
        # A comment with NOPASSWD: /bin/everything
        maas ALL= NOPASSWD: /usr/bin/lshw
        maas ALL= NOPASSWD: {bin}/maas-write-file
        maas ALL= NOPASSWD: {bin}/beacon-monitor
        maas ALL= NOPASSWD: {bin}/systemctl restart maas-http
        maas ALL= NOPASSWD: {bin}/systemctl kill -s SIGKILL bind9

        maas ALL= NOPASSWD: {bin}/maas-common scan-network *
        maas ALL= NOPASSWD: {bin}/maas-common scan-network
        maas ALL= NOPASSWD:SETENV: {bin}/machine-resources
        maas ALL= NOPASSWD:SETENV: {bin}/refresh
        maas ALL= NOPASSWD: {bin}/absent
        maas ALL= {bin}/with-password
        other ALL= NOPASSWD: {bin}/not-for-maas
    """,
    "99-maas-netmon-sudoers": "maas ALL= NOPASSWD: {bin}/maas-netmon\n",
    "99-maas-sudoers": "maas ALL= NOPASSWD: {bin}/systemctl restart maas-rackd\n",
    "10-other": "maas ALL= NOPASSWD: {bin}/not-from-maas\n",
}
GUESTS = (
    *("maas-write-file", "systemctl", "maas-common", "machine-resources", "refresh", "with-password", "not-for-maas"),
    *("not-from-maas", "tee", "nmap", "ping", "id", "maas-netmon", "beacon-monitor", "maas-init", "python3"),
)


class Guest:
    """A guest that says sudo: its programs print how they were called."""

    def __init__(self, root: Path) -> None:
        self.bin, self.sudoers = root / "bin", root / "sudoers.d"
        self.bin.mkdir()
        self.sudoers.mkdir()
        for name, text in SUDOERS.items():
            (self.sudoers / name).write_text(dedent(text).format(bin=self.bin))
        for name in GUESTS:
            program = self.bin / name
            program.write_text('#!/bin/sh\nprintf "<%s>" "${0##*/}" "$@" "${MINE-}"\n')
            program.chmod(0o755)

    def sudo(self, *argv: str, shell: str = "sh", stdin: str = "") -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return script(
            "sudo", *argv, shell=shell, stdin=stdin, PATH=path, MAAS_INIT_SUDOERS=str(self.sudoers), MINE="kept"
        )

    def said(self, *argv: str, shell: str = "sh") -> str:
        done = self.sudo(*argv, shell=shell)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *argv: str) -> str:
        done = self.sudo(*argv)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("sudo: ")
        return done.stderr


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


@pytest.mark.parametrize(
    "options", [(), ("-n",), ("--non-interactive",), ("-E",), ("-n", "-E"), ("-nE",), ("-n", "--")]
)
def test_allowed_program_is_run_whatever_options_maas_gives(options: Sequence[str], guest: Guest, shell: str) -> None:
    said = guest.said(*options, f"{guest.bin}/machine-resources", shell=shell)
    assert said == "<machine-resources><kept>", "the environment is kept"


def test_rule_without_arguments_allows_any(guest: Guest, shell: str) -> None:
    argv = ("/etc/chrony/maas.conf", "0644", "a b", "*", "")
    said = guest.said("-n", f"{guest.bin}/maas-write-file", *argv, shell=shell)
    assert said == "<maas-write-file></etc/chrony/maas.conf><0644><a b><*><><kept>"


def test_standard_input_and_exit_status_are_the_program_s(guest: Guest) -> None:
    (guest.bin / "maas-write-file").write_text("#!/bin/sh\ncat; exit 7\n")
    done = guest.sudo("-n", f"{guest.bin}/maas-write-file", stdin="content")
    assert (done.returncode, done.stdout) == (7, "content")


@pytest.mark.parametrize(
    "argv", [("restart", "maas-http"), ("kill", "-s", "SIGKILL", "bind9"), ("restart", "maas-rackd")]
)
def test_rule_with_arguments_allows_exactly_these(argv: Sequence[str], guest: Guest, shell: str) -> None:
    words = "".join(f"<{word}>" for word in argv)
    assert guest.said("systemctl", *argv, shell=shell) == f"<systemctl>{words}<kept>", "found on PATH by its bare name"
    assert guest.said(f"{guest.bin}/systemctl", *argv, shell=shell) == f"<systemctl>{words}<kept>"


@pytest.mark.parametrize(
    "argv",
    [
        *((), ("restart",), ("restart", "maas-proxy"), ("stop", "maas-http"), ("restart", "maas-http", "bind9")),
        *(("", "restart", "maas-http"), ("restart", "*"), ("restart", "maas-http", "")),
    ],
)
def test_other_arguments_are_refused(argv: Sequence[str], guest: Guest) -> None:
    assert "is not in MAAS's sudoers files" in guest.refused("systemctl", *argv)


@pytest.mark.parametrize("argv", [(), ("eth0",), ("10.0.0.0/8", "--ping"), ("eth0", "*", "a b")])
def test_pattern_in_a_rule_is_a_pattern(argv: Sequence[str], guest: Guest, shell: str) -> None:
    said = guest.said("-n", f"{guest.bin}/maas-common", "scan-network", *argv, shell=shell)
    # maas-common itself would insist on being root.
    program = "<python3><-I><-m><provisioningserver>"
    assert said == program + "<scan-network>" + "".join(f"<{word}>" for word in argv) + "<kept>"


def test_other_verb_of_a_pattern_is_refused(guest: Guest) -> None:
    guest.refused("-n", f"{guest.bin}/maas-common", "observe-arp", "eth0")


@pytest.mark.parametrize("name", ["with-password", "not-for-maas", "not-from-maas", "id"])
def test_program_that_no_rule_of_maas_s_allows_is_refused(name: str, guest: Guest) -> None:
    guest.refused("-n", f"{guest.bin}/{name}")
    guest.refused(name)


def test_same_name_in_another_directory_is_refused(guest: Guest, tmp_path: Path) -> None:
    guest.refused("-n", f"{tmp_path}/maas-write-file")
    guest.refused("-n", f"{guest.bin}/../bin/maas-write-file")


def test_allowed_program_that_is_not_there_is_told(guest: Guest) -> None:
    assert "command not found" in guest.refused("-n", f"{guest.bin}/absent")


def test_tee_as_maas_is_allowed_to_maas_s_script(guest: Guest, shell: str) -> None:
    assert guest.said("-n", "-u", "maas", "tee", "/var/lib/maas/x", shell=shell) == "<tee></var/lib/maas/x><kept>"


def test_nothing_else_is_allowed_as_maas(guest: Guest) -> None:
    assert "is not allowed with -u maas" in guest.refused("-n", "-u", "maas", "id")
    guest.refused("-n", "-u", "maas", f"{guest.bin}/maas-write-file")


def test_tee_is_allowed_to_nobody_else(guest: Guest) -> None:
    guest.refused("-n", "tee", "/etc/passwd")


def test_what_needs_raw_sockets_is_asked_of_discovery(guest: Guest, shell: str) -> None:
    assert guest.said("-n", "nmap", "-e", "eth0", shell=shell) == "<maas-init><discovery><nmap><-e><eth0><kept>"
    for name in ("maas-netmon", "beacon-monitor"):
        said = guest.said("-n", f"{guest.bin}/{name}", "eth0", shell=shell)
        assert said == f"<maas-init><discovery><{guest.bin}/{name}><eth0><kept>"


def test_ping_is_asked_of_discovery_whoever_says_it(guest: Guest, shell: str) -> None:
    path = f"{guest.bin}:{os.environ['PATH']}"
    done = script("ping", "-c", "1", "a b", shell=shell, PATH=path)
    assert (done.returncode, done.stdout) == (0, "<maas-init><discovery><ping><-c><1><a b><>"), done.stderr


@pytest.mark.parametrize("user", ["root", "postgres", ""])
def test_other_user_is_refused(user: str, guest: Guest) -> None:
    assert "cannot run as" in guest.refused("-u", user, "tee", "x")


@pytest.mark.parametrize("option", ["-i", "-s", "--login", "-l", "-v", "-k", "-A", "-S"])
def test_option_that_maas_does_not_use_is_refused(option: str, guest: Guest) -> None:
    assert f"cannot use the option {option}" in guest.refused(option, f"{guest.bin}/machine-resources")


@pytest.mark.parametrize("argv", [(), ("-n",), ("-u", "maas"), ("-u",), ("--",), ("",)])
def test_sudo_without_a_command_is_refused(argv: Sequence[str], guest: Guest) -> None:
    guest.refused(*argv)


def test_nothing_is_allowed_without_sudoers_files(guest: Guest) -> None:
    shutil.rmtree(guest.sudoers)
    guest.refused("-n", f"{guest.bin}/machine-resources")


def test_arguments_are_not_understood_by_the_shell(guest: Guest, tmp_path: Path, shell: str) -> None:
    awkward = f"$(touch {tmp_path}/hacked)`id`;*'\""
    said = guest.said("-n", f"{guest.bin}/refresh", awkward, shell=shell)
    assert said == f"<refresh><{awkward}><kept>"
    assert not (tmp_path / "hacked").exists()


# rsyslog.sed

OF_MAAS = """\
# Local socket and network input.
module(load="imuxsock" SysSock.Name="{work}/log.sock")
module(load="imtcp")
input(type="imtcp" port="{port}")
module(load="imudp")
input(type="imudp" port="{port}")
$RepeatedMsgReduction on
$FileOwner maas
$FileGroup maas
$FileCreateMode 0640
$Umask 0022
$PrivDropToUser maas
$PrivDropToGroup maas
$WorkDirectory {work}
module(load="omjournal")
template(name="MAASjournal" type="list") {{
  constant(value="maas-log" outname="SYSLOG_IDENTIFIER")
  property(name="rawmsg-after-pri" outname="MESSAGE")
}}
if $syslogtag contains "maas" then {{
  action(type="omjournal" template="MAASjournal")
}} else {{
  action(type="omjournal")
}}
:inputname, isequal, "imtcp" stop
*.* stop
"""
"""What regiond 3.5 writes, shortened: the same statements."""


def translated(text: str, tmp_path: Path) -> str:
    (tmp_path / "rsyslog.conf").write_text(text)
    command = ["sed", "-f", str(BRIDGE / "rsyslog.sed"), str(tmp_path / "rsyslog.conf")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_rsyslog_configuration_loses_what_needs_root_or_a_journal(tmp_path: Path) -> None:
    found = translated(OF_MAAS.format(work="/var/lib/maas/rsyslog", port=5247), tmp_path)
    for gone in ("$PrivDrop", "$FileOwner", "$FileGroup", "omjournal"):
        assert gone not in found
    assert found.count('action(type="omfile" file="/dev/stdout" template="maas-init")') == 2
    for kept in ("$FileCreateMode 0640", "*.* stop", 'input(type="imudp" port="5247")', 'name="MAASjournal"'):
        assert kept in found


def test_rsyslogd_accepts_what_the_translation_gives(tmp_path: Path) -> None:
    found = translated(OF_MAAS.format(work=tmp_path, port=5247), tmp_path)
    (tmp_path / "translated.conf").write_text(found)
    command = ["/usr/sbin/rsyslogd", "-N1", "-f", str(tmp_path / "translated.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr


def test_rsyslogd_answers_the_listener_s_question_and_keeps_it_out_of_the_log(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = tmp_path / "syslog.probe"
    found = translated(OF_MAAS.format(work=tmp_path, port=port), tmp_path)
    conf = tmp_path / "translated.conf"
    conf.write_text(found.replace("/run/maas-init/syslog.probe", str(answers)))
    command = ["/usr/sbin/rsyslogd", "-n", "-f", str(conf), "-i", str(tmp_path / "pid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as rsyslogd:
        try:
            question = probes.Question((str(port), str(answers)), 5.0)
            until(lambda: asyncio.run(probes.run(probes.syslog, "syslog", question)).ok)
            assert asyncio.run(probes.run(probes.syslog, "syslog", question)).ok
            assert answers.read_text() == ""
            rsyslogd.send_signal(signal.SIGSTOP)
            tasks = Path(f"/proc/{rsyslogd.pid}/task")
            until(lambda: all(" (stopped)" in (each / "status").read_text() for each in tasks.iterdir()))
            silent = asyncio.run(probes.run(probes.syslog, "syslog", probes.Question((str(port), str(answers)), 0.3)))
            assert "no answer within 0.3 s" in silent.detail, "although its port accepts connections"
        finally:
            rsyslogd.terminate()
            rsyslogd.send_signal(signal.SIGCONT)  # else it would not hear that
        assert rsyslogd.stdout
        assert "maas-init-probe" not in rsyslogd.stdout.read()


# without-uvloop


def test_uvloop_is_not_there_for_maas() -> None:
    code = "try:\n  import uvloop\nexcept ImportError as error:\n  print(error)"
    environ = {"PYTHONPATH": str(BRIDGE / "without-uvloop")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert "hidden by maas-init" in done.stdout


# All of them.


@pytest.mark.parametrize("name", ["healthcheck.sh", "sudo", "systemd-detect-virt"])
def test_script_is_for_any_posix_shell(name: str) -> None:
    assert (BRIDGE / name).read_text().startswith("#!/bin/sh\n")
    for shell in SHELLS:
        command = ["busybox", "sh"] if shell == "busybox" else [shell]
        assert subprocess.run([*command, "-n", str(BRIDGE / name)], check=False).returncode == 0
