"""The verbs for people in a real container with toy services: ask for services, look at them, plan."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import MAAS_INIT, REQUIRED, Container, configured, until

from maas_init.paths import Paths

pytestmark = pytest.mark.process

OURS = Path(__file__).parent.parent / "supervisord.conf.d"


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    box = Container()
    box.service("proxy", critical="yes", unit="maas-proxy")
    box.service("ntp", unit="chrony")
    broken = {"command": "/bin/false", "startsecs": "1", "startretries": "0", "autorestart": "false"}
    box.service("broken", start="request", program=broken)
    box.start()
    try:
        until(lambda: box.all_("healthy"))
        yield box
    finally:
        box.close()


# start, stop, restart


def test_what_is_stopped_stays_so_until_it_is_started(shared: Container) -> None:
    done = shared.verb("stop", "ntp")
    assert (done.returncode, done.stdout) == (0, "ntp is stopped and stays so, until: maas-init start ntp\n")
    until(lambda: shared.is_("ntp", "off"))
    assert shared.of("ntp")["desired"]["owner"] == "operator"

    done = shared.verb("start", "ntp")
    assert (done.returncode, done.stdout) == (0, "ntp runs\n")
    until(lambda: shared.is_("ntp", "ready"))


def test_restart_gives_a_new_process_and_takes_names_of_systemd_units(shared: Container) -> None:
    before = until(lambda: shared.pid("proxy"))
    done = shared.verb("restart", "maas-proxy.service", "chrony", "ntp")
    assert done.stdout == "proxy was restarted and runs\nntp was restarted and runs\n"
    until(lambda: shared.is_("proxy", "ready"))
    assert shared.pid("proxy") not in (0, before)


def test_unknown_name_is_told_with_those_that_come_close_and_nothing_is_done(shared: Container) -> None:
    before = until(lambda: shared.pid("ntp"))
    done = shared.verb("restart", "ntp", "prxy")
    assert done.returncode == 1
    assert 'cannot restart "prxy": there is no such service' in done.stderr
    assert "did you mean proxy? There are broken, ntp, proxy" in done.stderr
    assert shared.pid("ntp") == before


def test_a_start_that_fails_says_why(shared: Container) -> None:
    done = shared.verb("start", "broken", "ntp")
    assert done.returncode == 1
    assert done.stdout == "ntp runs\n"
    assert done.stderr.startswith("cannot start broken: ")
    assert done.stderr.count("cannot start") == 1
    assert "maas-init why broken" in done.stderr
    shared.verb("stop", "broken")


# status


class Terminal:
    """A command whose output is a terminal of 100 columns."""

    def __init__(self, container: Container, *argv: str, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        self.output = ""
        self.process = subprocess.Popen(
            [MAAS_INIT, *argv],
            env={"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(container.root), "TERM": "xterm", "COLUMNS": "100"}
            | environ,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)

    def until(self, text: str) -> None:
        while text not in self.output:
            self.read()

    def read(self) -> None:
        """Read more; fails at the end."""
        self.output += os.read(self._ours, 65536).decode()

    def end(self) -> str:
        try:
            while True:
                self.read()
        except OSError:  # the other end was closed
            pass
        os.close(self._ours)
        self.process.communicate()
        return self.output


def test_status_on_a_terminal_is_a_table_with_colours(shared: Container) -> None:
    output = Terminal(shared, "status").end()
    assert "\x1b[32mready" in output
    for word in ("service", "level", "since", "restarts", "why", "proxy", "ntp"):
        assert word in output


def test_no_color_is_respected(shared: Container) -> None:
    output = Terminal(shared, "status", NO_COLOR="1").end()
    assert "ready" in output
    assert "\x1b[32m" not in output


def test_status_as_json_is_the_status_file(shared: Container) -> None:
    done = shared.verb("status", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["services"].keys() == shared.status()["services"].keys()


def test_watch_on_a_terminal_shows_what_changes_until_it_is_interrupted(shared: Container) -> None:
    terminal = Terminal(shared, "status", "--watch", NO_COLOR="1")
    terminal.until("volumes")
    shared.verb("stop", "ntp")
    terminal.until("operator wants it off")
    terminal.process.send_signal(signal.SIGINT)
    terminal.end()
    assert terminal.process.returncode == 128 + signal.SIGINT
    shared.verb("start", "ntp")


def test_watch_elsewhere_prints_again_what_changed(shared: Container) -> None:
    until(lambda: shared.is_("ntp", "ready"))
    environ = {"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(shared.root)}
    with subprocess.Popen([MAAS_INIT, "status", "--watch"], env=environ, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("healthy: ")
        shared.verb("stop", "ntp")
        assert any("operator wants it off" in line for line in watch.stdout)
        watch.send_signal(signal.SIGINT)
    shared.verb("start", "ntp")


# doctor


def test_doctor_looks_at_a_running_container(shared: Container) -> None:
    shared.verb("stop", "ntp")
    until(lambda: shared.is_("ntp", "off"))
    done = shared.verb("doctor", "--json")
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert done.returncode in (1, 2)
    assert found["services-switched-off"]["level"] == "warning"
    assert "ntp, by operator" in found["services-switched-off"]["evidence"]
    assert found["listener"]["level"] == "ok"
    assert found["volumes-writable"]["level"] == "ok"
    assert "Do: `maas-init start NAME`." in shared.verb("doctor").stdout
    shared.verb("start", "ntp")


# plan


def plan(root: Path, **environ: str) -> str:
    environ = {"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(root), "MAAS_INIT_SERVICES": str(OURS)} | environ
    done = subprocess.run([MAAS_INIT, "plan"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def everything_below(root: Path) -> dict[str, str]:
    return {str(file): file.read_text() for file in sorted(root.rglob("*")) if file.is_file()}


def test_plan_before_the_first_start_shows_every_file_whole_and_writes_none(tmp_path: Path) -> None:
    told = plan(tmp_path, **REQUIRED)
    for name in ("run/maas-init/supervisord.conf", "etc/maas/regiond.conf", "etc/maas/rackd.conf"):
        assert f"--- /dev/null\n+++ {tmp_path}/{name}\n" in told
    assert "secret of" not in told
    assert "+database_pass: '********'" in told or "+database_pass: ********" in told
    assert everything_below(tmp_path) == {}


def test_plan_shows_only_what_would_change_and_no_secret_old_or_new(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    configured(where, REQUIRED)
    before = everything_below(tmp_path)

    told = plan(tmp_path, **REQUIRED | {"POSTGRES_PASSWORD": "another $ecret", "MAAS_INIT_LOG_FORMAT": "json"})

    assert "-log_format = console\n+log_format = json\n" in told
    assert "squid.conf" not in told
    for secret in ("secret of the database", "another $ecret", "secret of the administrator"):
        assert secret not in told
    assert everything_below(tmp_path) == before


def test_plan_says_that_a_secret_would_change_and_that_nothing_would(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    configured(where, REQUIRED)
    told = plan(tmp_path, **REQUIRED | {"POSTGRES_PASSWORD": "another $ecret"})
    assert f"{where.settings}: a secret in it would change\n" in told

    where.settings.chmod(0o644)
    assert f"{where.settings}: mode 644 would become 600\n" in plan(tmp_path, **REQUIRED)
    where.settings.chmod(0o600)
    rack = REQUIRED | {"MAAS_ROLE": "rack", "MAAS_REGION_URLS": REQUIRED["MAAS_URL"], "MAAS_REGION_SECRET": "ab" * 16}
    configured(where, rack)
    where.maas_etc.mkdir(parents=True, exist_ok=True)
    where.rackd_conf.write_text(f"debug: false\nmaas_url:\n- {REQUIRED['MAAS_URL']}\n")
    where.rackd_conf.chmod(0o640)
    (where.maas_data / "secret").write_text("ab" * 16)
    (where.maas_data / "secret").chmod(0o640)
    assert plan(tmp_path, **rack).startswith("nothing would change: ")


# completion


def completed(*words: str) -> list[str]:
    """Let a real bash complete the last word."""
    environ = {"PATH": os.environ["PATH"], "MAAS_INIT_SERVICES": str(OURS)}
    script = subprocess.run([MAAS_INIT, "completion", "bash"], env=environ, capture_output=True, text=True, check=True)
    line = f'COMP_WORDS=("$@") COMP_CWORD={len(words)}; _maas_init; printf "%s\\n" "${{COMPREPLY[@]}}"'
    argv = ["bash", "-c", f"{script.stdout}\n{line}", "-", "maas-init", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_verbs_services_options_and_choices() -> None:
    assert completed("st") == ["status", "start", "stop"]
    assert completed("restart", "pro") == ["proxy"]
    assert completed("restart", "ntp", "reg") == ["regiond"]
    assert completed("why", "v") == ["volumes"]
    assert completed("start", "v") == [], "what is only watched cannot be started"
    assert completed("doctor", "--") == ["--all", "--dhcp", "--json"]
    assert completed("completion", "") == ["bash", "zsh", "fish"]
    assert completed("bootst") == [], "not for people"
