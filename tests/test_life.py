"""The whole life of the container: a real `maas-init run` as process 1, a real supervisord, toy services."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from harness import Container, status_facts, until

from maas_init.errors import ExitCode

pytestmark = pytest.mark.process

SECRETS = {
    "POSTGRES_PASSWORD": "p%(x)s'q u$o t`e😀",
    "MAAS_ADMIN_PASSWORD": 'unheard-of "administrator" \\',
    "MAAS_REGION_SECRET": "0123456789abcdef0123456789abcdef",
}


ASKS_FOR_ITS_PORT_ONCE = """
import contextlib, pathlib, signal, socket, sys
own = socket.socket()
own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
with contextlib.suppress(OSError):
    own.bind(("0.0.0.0", int(sys.argv[1])))
    own.listen()
pathlib.Path(sys.argv[2]).touch()
signal.pause()
"""


def once(command: str) -> dict[str, str]:
    """Describe a program that runs once."""
    return {"command": f"/bin/sh -c '{command}'", "autorestart": "false"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    """A healthy container for the tests that change nothing for each other."""
    box = Container()
    secret_file = box.root / "administrator"
    secret_file.write_text(SECRETS["MAAS_ADMIN_PASSWORD"] + "\n")
    secret_file.chmod(0o600)
    for name in ("alpha", "beta", "gamma", "delta"):
        box.service(name, critical="yes")
    box.service("extra")
    box.service("orphans", start="request", type="oneshot", program=once(f"exec {sys.executable} {box.root}/orphans"))
    (box.root / "orphans").write_text(
        "import os\n"
        "for _ in range(1000):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            os._exit(3)\n"
        "        os._exit(0)\n"
    )
    environ = SECRETS | {"MAAS_ADMIN_PASSWORD": "", "MAAS_ADMIN_PASSWORD_FILE": str(secret_file)}
    box.start(environ)
    try:
        until(lambda: box.all_("healthy"))
        yield box
    finally:
        box.close()


# What is seen while all is well.


def test_status_file_describes_the_container_and_every_service(shared: Container) -> None:
    status = shared.status()
    assert status.keys() == {
        *("schema", "level", "summary", "time", "uptime", "progress", "services"),
        *("pxe", "images", "ready_at", "events"),
    }
    assert (status["schema"], status["level"]) == (1, "healthy")
    assert status["services"].keys() == {"alpha", "beta", "gamma", "delta", "extra", "orphans", "volumes"}
    alpha = status["services"]["alpha"]
    assert alpha.keys() == {
        *(
            "description",
            "unit",
            "start",
            "level",
            "because",
            "why",
            "critical",
            "reloadable",
            "process",
            "pid",
            "since",
            "restarts",
            "failed",
        ),
        *("requires", "desired", "check", "capabilities", "missing_capabilities", "boot"),
    }
    assert (alpha["level"], alpha["critical"], alpha["process"], alpha["check"]) == ("ready", True, "RUNNING", None)
    assert alpha["desired"].keys() == {"on", "owner", "reason", "at", "moment"}
    assert (alpha["desired"]["on"], alpha["desired"]["owner"]) == (True, "init")
    assert status["services"]["orphans"]["level"] == "off"


def test_status_and_health_files_show_signs_of_life(shared: Container) -> None:
    before = shared.status()["uptime"]
    line = shared.paths.health.read_text()
    until(lambda: shared.status()["uptime"] > before and shared.paths.health.read_text() != line)
    level, written, summary = shared.paths.health.read_text().split(" ", 2)
    assert (level, written.isdigit(), bool(summary.strip())) == ("healthy", True, True)


def test_anybody_may_read_status_and_health_but_not_the_settings(shared: Container) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert (mode(shared.paths.status), mode(shared.paths.health)) == (0o644, 0o644)
    assert mode(shared.paths.settings) == 0o600
    assert mode(shared.paths.pebble_socket) & 0o077 == 0
    assert mode(shared.paths.supervisor_socket) & 0o077 == 0


def test_healthcheck_accepts_a_healthy_container(shared: Container) -> None:
    script = Path(sys.modules["maas_init"].__path__[0]) / "bridge" / "healthcheck.sh"
    done = shared.inside("/usr/bin/env", f"MAAS_INIT_HEALTH={shared.paths.health}", "/bin/sh", str(script))
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "healthy")


def test_status_verb_shows_every_service(shared: Container) -> None:
    done = shared.verb("status")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("healthy: ")
    *services, machines = done.stdout.splitlines()[1:]
    assert [line.split()[0] for line in services] == sorted(shared.status()["services"])
    assert machines.startswith("Can machines boot over the network? not from here: ")


def test_why_explains_one_service(shared: Container) -> None:
    done = shared.verb("why", "orphans")
    assert done.returncode == 0
    assert "orphans is off" in done.stdout
    assert "init wants it off: it is started on request" in done.stdout


def test_why_names_the_services_when_asked_for_an_unknown_one(shared: Container) -> None:
    done = shared.verb("why", "nonsense")
    assert done.returncode == 1
    assert 'cannot explain "nonsense"' in done.stderr
    assert "alpha" in done.stderr


def test_services_see_nothing_of_the_environment_but_what_they_need(shared: Container) -> None:
    environ = Path(f"/proc/{shared.pid('alpha')}/environ").read_bytes().decode().split("\0")
    names = {line.partition("=")[0] for line in environ if line}
    expected = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "MAAS_INIT_ROOT", "MAAS_INIT_SERVICES"}
    assert {name for name in names if not name.startswith("SUPERVISOR_")} == expected
    assert f"HOME={shared.root}/var/lib/maas" in environ


def test_a_service_sees_the_variables_that_its_file_names_and_no_other_does(container: Container) -> None:
    container.service("one", pass_environment="PEBBLE TOKEN ABSENT")
    container.service("two", pass_environment="PEBBLE", program={"environment": 'TOKEN="%(ENV_TOKEN)s of its own"'})
    container.service("three")
    container.start({"TOKEN": "abc", "OTHER": "x"})
    until(lambda: container.all_("healthy"))

    def sees(name: str) -> dict[str, str]:
        environ = Path(f"/proc/{container.pid(name)}/environ").read_text().rstrip("\0").split("\0")
        known = dict(line.split("=", 1) for line in environ)
        return {name: known[name] for name in ("PEBBLE", "TOKEN", "OTHER", "ABSENT") if name in known}

    assert sees("one") == {"PEBBLE": str(container.paths.run), "TOKEN": "abc"}
    assert sees("two") == {"PEBBLE": str(container.paths.run), "TOKEN": "abc of its own"}
    assert sees("three") == {}
    assert sees("health") == {}


def test_a_process_has_the_capabilities_of_its_service_and_nothing_gives_it_more(container: Container) -> None:
    container.service("raw", ambient_capabilities="net_raw")
    container.service("plain")
    container.start()
    until(lambda: container.all_("healthy"))

    def facts(pid: int) -> tuple[int, int, str]:
        found = status_facts(pid)
        assert int(found["CapPrm"], 16) == int(found["CapEff"], 16)
        return int(found["CapPrm"], 16), int(found["CapInh"], 16), found["NoNewPrivs"]

    raw = 1 << 13
    assert facts(container.pid("raw")) == (raw, raw, "1")
    assert facts(container.pid("plain")) == (0, 0, "1")
    assert facts(container.pid("health")) == (raw, raw, "1"), "the listener looks into what has it"
    assert facts(container.pid("supervisord")) == (raw, raw, "1"), "it hands down what it has"
    assert facts(container.init) == (0, 0, "0"), "its flag tells how the container was started"


def test_no_process_leaves_its_memory_in_a_file(shared: Container) -> None:
    for pid in (shared.init, *(process.pid for process in shared.processes())):
        (limit,) = (
            line.split()[4:6] for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in line
        )
        assert limit in (["1", "1"], ["0", "0"])


def test_directories_that_maas_does_not_make_itself_are_there(shared: Container) -> None:
    for name in ("image-storage", "certificates", "http", "prometheus", "tftp_root", "dhcp", "rsyslog"):
        assert (shared.paths.maas_data / name).is_dir(), name
    for directory in ("/run/maas", "/run/lock", "/run/maas-dhcp", "/tmp/maas/agent", "/var/lib/maas/bind/zones"):
        assert shared.paths.at(directory).is_dir(), directory


def test_services_start_with_a_clean_signal_mask(shared: Container) -> None:
    assert int(status_facts(shared.pid("supervisord"))["SigBlk"], 16) == 0
    # The toy blocks what it waits for; nothing else may be blocked or ignored on its behalf.
    facts = status_facts(shared.pid("alpha"))
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    assert int(facts["SigBlk"], 16) & ~sum(1 << (number - 1) for number in heard) == 0
    ignored = {number for number in range(1, 32) if int(facts["SigIgn"], 16) >> (number - 1) & 1}
    assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}  # Python's own


def test_no_secret_is_in_an_environment_or_a_command_line(shared: Container) -> None:
    hidden = [secret.encode() for secret in SECRETS.values()]
    for process in shared.processes():
        for file in ("environ", "cmdline"):
            found = Path(f"/proc/{process.pid}/{file}").read_bytes()
            assert not [secret for secret in hidden if secret in found], f"{process.argv} shows a secret in {file}"
    assert not [secret for secret in hidden if secret in Path(f"/proc/{shared.init}/cmdline").read_bytes()]


def test_no_secret_is_in_a_file_that_others_may_read(shared: Container) -> None:
    readable = []
    for path in shared.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o044:
            readable.append(path)
            text = path.read_text(errors="replace")
            for secret in SECRETS.values():
                assert secret not in text and json.dumps(secret)[1:-1] not in text, f"{path} shows a secret"
    assert shared.paths.status in readable
    assert shared.paths.supervisord_conf in readable


def test_no_secret_is_printed(shared: Container) -> None:
    for secret in SECRETS.values():
        assert secret not in shared.output


def test_listener_prints_only_its_protocol_to_supervisord(shared: Container) -> None:
    assert "listener" not in shared.output.replace("listener.pid", "").lower()
    assert shared.supervisorctl("status", "health").split()[1] == "RUNNING"


# What is done about trouble.


def test_killed_service_is_back_and_the_others_are_untouched(shared: Container) -> None:
    before = {name: shared.pid(name) for name in ("alpha", "beta", "gamma")}
    shared.kill("alpha")
    assert {name: shared.pid(name) for name in ("beta", "gamma")} == {name: before[name] for name in ("beta", "gamma")}
    assert shared.pid("alpha") != before["alpha"]
    until(lambda: shared.all_("healthy"))


def test_thousand_orphans_leave_no_zombie(shared: Container) -> None:
    assert shared.change("start", "orphans")["status"] == "Done"
    until(lambda: shared.is_("orphans", "ready"))

    def buried() -> bool:
        dead = [process for process in shared.processes() if process.state == "Z"]
        assert not dead, f"{len(dead)} zombies, for example {dead[0]}"
        return True

    until(buried)
    told = until(lambda: re.findall(r"orphans\.buried number=(\d+)", shared.output))
    assert len(told) == 1
    assert int(told[0]) >= 1000


def test_status_is_printed_when_process_1_is_asked(shared: Container) -> None:
    shared.signal(signal.SIGUSR1)
    until(lambda: "service.told service=alpha level=ready" in shared.output)
    assert re.search(r"info +maas-init status\.told level=healthy ", shared.output)


def test_listener_that_is_stuck_is_killed_and_another_one_goes_on(container: Container) -> None:
    container.service("web", critical="yes")
    container.start()
    until(lambda: container.all_("healthy"))
    stuck, web = container.pid("health"), container.pid("web")
    container.signal(signal.SIGSTOP, "health")
    until(lambda: container.pid("health") not in (0, stuck))
    assert "listener.stuck" in container.output
    until(lambda: container.all_("healthy"))
    assert container.pid("web") == web


def test_operator_s_stop_is_respected_and_his_start_brings_the_service_back(shared: Container) -> None:
    shared.supervisorctl("stop", "beta")
    until(lambda: shared.of("beta")["desired"]["owner"] == "operator")
    assert "stopped with supervisorctl" in shared.verb("why", "beta").stdout
    assert shared.status()["level"] != "healthy", "a critical service is missing"
    # Nobody revives it, although everything is looked at again because of another service.
    shared.kill("alpha")
    shared.is_("beta", "off")
    shared.supervisorctl("start", "beta")
    until(lambda: shared.is_("beta", "ready") and shared.all_("healthy"))
    assert shared.of("beta")["desired"]["on"]


def test_killed_listener_comes_back_and_remembers_what_was_wanted(shared: Container) -> None:
    assert shared.change("stop", "extra")["status"] == "Done"
    until(lambda: shared.is_("extra", "off"))
    wanted = shared.of("extra")["desired"]
    listener, alpha = shared.pid("health"), shared.pid("alpha")
    written = shared.status()["uptime"]
    shared.signal(signal.SIGKILL, "health")
    until(lambda: shared.status()["uptime"] > written and shared.pid("health") not in (0, listener))
    until(lambda: shared.all_("healthy"))
    shared.is_("extra", "off")
    assert shared.of("extra")["desired"] == wanted
    assert shared.pid("alpha") == alpha, "services outlive the listener"
    # It still hears supervisord, and it is heard.
    shared.kill("alpha")
    assert shared.change("start", "extra")["status"] == "Done"
    until(lambda: shared.is_("extra", "ready"))


def test_hup_has_changed_secret_used_by_whom_it_concerns(container: Container) -> None:
    secret = container.root / "secret"
    secret.write_text("the first\n")
    (container.root / "step").write_text(
        f"mkdir -p {container.root}/etc\n"
        f"grep -o 'the first\\|the second' {container.paths.settings} > {container.root}/etc/both.conf\n"
    )
    container.service("bootstrap", type="oneshot", program=once(f"exec sh {container.root}/step"), critical="yes")
    for name, reloadable in (("reader", "yes"), ("other", "no")):
        keys = {"configuration": "/etc/both.conf", "reloadable": reloadable}
        container.service(name, requires="bootstrap", critical="yes", program={}, **keys)  # type: ignore[arg-type]
    container.service("bystander")
    container.start({"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(secret)})
    until(lambda: container.all_("healthy") and len(container.journal()) == 3)
    secret.write_text("the second\n")
    container.signal(signal.SIGHUP)
    until(lambda: sorted(container.journal()[3:]) == ["SIGHUP reader", "SIGTERM other", "ended other", "started other"])
    assert (container.root / "etc/both.conf").read_text() == "the second\n"
    until(lambda: container.all_("healthy"))
    assert "the second" not in container.output
    secret.write_text("two\nlines\n")
    container.signal(signal.SIGHUP)
    until(lambda: "reload.refused" in container.output)
    assert "POSTGRES_PASSWORD_FILE" in container.output or "POSTGRES_PASSWORD" in container.output
    assert "the second" in container.paths.settings.read_text()


def test_usr2_reopens_logs_and_nothing_else(shared: Container) -> None:
    gamma = shared.pid("gamma")
    shared.signal(signal.SIGUSR2)
    until(lambda: "reopened" in shared.output or "SIGUSR2" in shared.output)
    assert (shared.pid("gamma"), shared.running) == (gamma, True)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_signal_without_a_meaning_disturbs_nothing(shared: Container, number: signal.Signals) -> None:
    gamma = shared.pid("gamma")
    shared.signal(number)
    shared.kill("delta")  # process 1 and supervisord are seen to work afterwards
    assert (shared.pid("gamma"), shared.running) == (gamma, True)


# Order.


def test_services_start_in_order_of_need_and_stop_in_the_other(container: Container) -> None:
    container.service("database", probed=True, critical="yes")
    container.service("web", requires="reachable", probed=True, critical="yes")
    container.service("page", requires="web", critical="yes")
    container.add("reachable", f"[check:reachable]\ncheck = writable {container.answers}/way\nrequires = database\n")
    # Each of the two answers only when the other has started: one after the other they never would.
    for name, other in (("left", "right"), ("right", "left")):
        made = container.answers / f"{other}-started"
        habit = f"makes={container.answers}/{name}-started"
        container.service(name, habit, check=f"writable {made}", critical="yes")
    container.start()

    until(lambda: container.is_("left", "ready") and container.is_("right", "ready"))
    until(lambda: container.is_("database", "up"))
    assert "started web" not in container.journal()
    until(lambda: container.all_("starting"))
    assert container.of("web")["why"] == "web is blocked: it needs reachable (blocked)"
    assert "database" in container.status()["summary"], "the root cause is named, not its victims"

    container.answer("database")
    until(lambda: container.is_("database", "ready"))
    assert "started web" not in container.journal(), "up is not ready: the check between them does not answer"
    container.answer("way")
    until(lambda: "started web" in container.journal())
    assert "started page" not in container.journal()
    container.answer("web")
    until(lambda: container.all_("healthy") and "started page" in container.journal())

    started = [line.split()[1] for line in container.journal() if line.startswith("started")]
    assert started.index("database") < started.index("web") < started.index("page")
    services = ("database", "web", "page", "left", "right")
    assert container.stop() == ExitCode.STOPPED
    journal = container.journal()
    assert {f"ended {name}" for name in services} <= set(journal), "everything is told and ends by itself"
    assert journal.index("ended page") < journal.index("SIGTERM web")
    # Through the check in between: the database goes after all that use it.
    assert journal.index("ended web") < journal.index("SIGTERM database")
    for independent in ("left", "right"):
        assert journal.index(f"SIGTERM {independent}") < journal.index("SIGTERM database")


def test_dependant_is_blocked_but_not_restarted_while_what_it_needs_is_unwell(container: Container) -> None:
    container.service("database", probed=True, critical="yes")
    container.service("web", requires="database", probed=True, critical="yes")
    for name in ("database", "web"):
        container.answer(name)
    container.start()
    until(lambda: container.all_("healthy"))
    web = container.pid("web")
    for name in ("database", "web"):
        container.answer(name, yes=False)
    until(lambda: container.is_("database", "unwell") and container.is_("web", "blocked"))
    until(lambda: container.all_("unhealthy"))
    summary = container.status()["summary"]
    assert summary.startswith("database is unwell: ")
    assert "web" not in summary, "only the root cause is named"
    for name in ("database", "web"):
        container.answer(name)
    until(lambda: container.all_("healthy"))
    assert container.pid("web") == web


def test_service_that_stops_answering_is_restarted_when_its_file_says_so(container: Container) -> None:
    container.service("web", probed=True, critical="yes", on_check_failure="restart")
    container.answer("web")
    container.start()
    until(lambda: container.all_("healthy") and container.journal())
    before = container.pid("web")
    container.answer("web", yes=False)
    until(lambda: container.journal().count("started web") >= 2)
    assert "ended web" in container.journal(), "it is asked to stop, not killed"
    container.answer("web")
    until(lambda: container.all_("healthy"))
    assert container.pid("web") != before
    assert "service.restarted service=web" in container.output


def test_what_does_not_answer_is_reloaded_then_restarted_then_with_what_needs_it_and_then_now_and_then(
    container: Container,
) -> None:
    patience = {"check_within": "2", "start_within": "0.3"}
    container.service("web", probed=True, reloadable="yes", on_check_failure="restart", critical="yes", **patience)  # type: ignore[arg-type]
    container.service("user", requires="web")
    container.service("bystander")
    container.answer("web")
    container.start()
    until(lambda: container.all_("healthy") and len(container.journal()) == 3)
    container.answer("web", yes=False)
    until(lambda: "service.gave_up service=web" in container.output)
    told = [line for line in container.journal() if line.split()[1] == "web"]
    assert told[:5] == ["started web", "SIGHUP web", "SIGTERM web", "ended web", "started web"]
    ways = re.findall(
        r"service\.(reloaded|restarted) service=web .*?(?:and_also=(.*))?$", container.output, re.MULTILINE
    )
    assert ways == [("reloaded", ""), ("restarted", "nothing"), ("restarted", "user"), ("restarted", "nothing")]
    container.answer("web")
    until(lambda: container.all_("healthy"))
    until(lambda: container.journal().count("started user") == 2)
    assert container.journal().count("started bystander") == 1


def test_service_that_began_without_its_port_begins_again_when_that_is_free(container: Container) -> None:
    with socket.create_server(("127.0.0.2", 0)) as held:
        port = held.getsockname()[1]
        asked = container.root / "asked"
        (container.root / "single.py").write_text(ASKS_FOR_ITS_PORT_ONCE)
        container.service(
            "single",
            command=f"{sys.executable} {container.root}/single.py {port} {asked}",
            check=f"tcp 127.0.0.1 {port}",
            listens=f"tcp/{port}",
            on_check_failure="restart",
            check_every="0.1",
            start_within="1000",
        )
        container.start()
        until(lambda: container.is_("single", "blocked") and asked.exists())
        before = container.pid("single")
        assert f"port {port}/tcp is taken" in container.of("single")["why"]
    until(lambda: container.is_("single", "ready"))
    assert container.pid("single") != before
    assert container.output.count("service.restarted service=single") == 1


def test_request_to_reload_that_comes_while_it_starts_is_not_lost_and_does_no_harm(container: Container) -> None:
    begin = container.root / "begin"
    toy = f"{sys.executable} -S -E {container.root}/toy.py web {container.journal_file}"
    # What does not listen for a hangup yet ends by one.
    wait = f"until test -e {begin}; do sleep 0.05; done"
    container.service("web", command=f"/bin/sh -c '{wait}; exec {toy}'", probed=True, reloadable="yes")
    container.start()
    pid = until(lambda: container.pid("web"))
    until(lambda: container.of("web")["process"] == "RUNNING")
    for _ in range(2):
        assert container.ask("POST", "/v1/signals", {"signal": "SIGHUP", "services": ["web"]})[0] == 200
    begin.touch()
    until(lambda: container.journal() == ["started web"])
    container.answer("web")
    until(lambda: container.journal() == ["started web", "SIGHUP web"])
    assert container.pid("web") == pid


def test_what_was_started_again_is_asked_as_soon_as_it_runs(container: Container) -> None:
    container.service("web", probed=True, check_every="1000")
    container.answer("web")
    container.start()
    until(lambda: container.is_("web", "ready"))
    before = container.of("web")["pid"]
    os.kill(container.pid("web"), signal.SIGKILL)
    until(lambda: (now := container.of("web"))["level"] == "ready" and now["pid"] != before)


def test_check_that_waits_for_another_is_not_unwell_when_it_is_asked_at_last(container: Container) -> None:
    container.service("slow", probed=True, critical="yes")
    container.add("late", f"[check:late]\ncheck = writable {container.root}\nrequires = slow\nstart_within = 0.5\n")
    container.start()
    began = until(lambda: container.is_("late", "blocked") and container.status()["uptime"])
    until(lambda: container.status()["uptime"] > began + 1 and container.is_("late", "blocked"))
    container.answer("slow")
    until(lambda: container.is_("late", "ready"))
    assert "service.unwell service=late" not in container.output


def test_service_without_which_nothing_is_lost_only_degrades(container: Container) -> None:
    container.service("main", critical="yes")
    container.service("extra", probed=True, start_within="0.2")
    container.start()
    until(lambda: container.all_("degraded"))
    until(lambda: container.is_("extra", "unwell"))
    assert container.status()["summary"].startswith("extra is unwell: ")
    assert container.verb("status").returncode == 0


def test_failed_service_is_tried_again_with_growing_delays_and_heals(container: Container) -> None:
    mended = container.root / "mended"
    broken = f'test -e {mended} && exec sleep 1000; echo "cannot find {mended}"; exit 3'
    container.service("fragile", program=once(broken) | {"startsecs": "1", "startretries": "0"}, critical="yes")
    container.service("sound", critical="yes")
    container.start()
    until(lambda: "service.failed service=fragile" in container.output)
    until(lambda: container.all_("unhealthy"))

    def told() -> bool:
        # Between two tries; in the moment of one it is starting.
        status = container.status()
        why = str(status["services"]["fragile"]["why"])
        return "exited with 3 right after its start" in why and status["summary"] == why

    until(told)
    assert container.verb("status").returncode == 1
    until(lambda: container.output.count("service.failed service=fragile") >= 2)
    times = re.findall(r"service\.failed service=fragile .*times=(\d+)", container.output)
    assert times == [str(number + 1) for number in range(len(times))], "each is counted once"
    assert container.pid("sound"), "it is not affected"
    mended.touch()
    until(lambda: container.is_("fragile", "ready") and container.all_("healthy"))
    until(lambda: container.of("fragile")["failed"] == 0)  # when it has run for a while


def test_program_that_does_not_exist_is_named(container: Container) -> None:
    container.service("absent", command="/nonexistent/daemon", program={"startretries": "0"}, critical="yes")
    container.start()
    until(lambda: container.all_("unhealthy"))
    assert "absent is down" in container.status()["summary"]
    assert "/nonexistent/daemon" in container.status()["summary"]


def test_failed_first_step_is_tried_again_and_its_progress_is_the_summary(container: Container) -> None:
    mended, progress = container.root / "mended", container.paths.progress
    told = json.dumps({"step": "schema", "summary": "migrating 212/514", "at_uptime": 1}).replace('"', '\\"')
    step = f'test -e {mended} || {{ echo "{told}" > {progress}; exit 4; }}'
    (container.root / "step").write_text(step + "\n")
    container.service("bootstrap", type="oneshot", program=once(f"exec sh {container.root}/step"), critical="yes")
    container.service("web", requires="bootstrap", critical="yes")
    container.start()
    until(lambda: container.all_("unhealthy") and "migrating 212/514" in container.status()["summary"])
    assert "exited with 4" in container.of("bootstrap")["why"]
    assert container.journal() == [], "nothing runs before its first steps are done"
    mended.touch()
    until(lambda: container.all_("healthy"))


def test_one_shot_that_ended_runs_again_when_a_restart_is_asked(container: Container) -> None:
    (container.root / "step").write_text(f"echo once >> {container.root}/steps\n")
    container.service("bootstrap", type="oneshot", program=once(f"exec sh {container.root}/step"), critical="yes")
    container.service("web", requires="bootstrap", critical="yes")
    container.start()
    until(lambda: container.all_("healthy"))
    web = container.pid("web")
    assert container.change("restart", "bootstrap")["status"] == "Done"
    until(lambda: (container.root / "steps").read_text() == "once\n" * 2)
    assert container.change("start", "bootstrap")["status"] == "Done"
    until(lambda: container.is_("web", "ready"))
    assert (container.root / "steps").read_text() == "once\n" * 2, "a start has nothing to do"
    assert container.pid("web") == web


# How it ends.


def test_row_of_stubborn_services_does_not_keep_the_database_from_its_clean_stop(container: Container) -> None:
    container.service("database", critical="yes")
    needed = "database"
    for name in ("apiserver", "regiond", "rackd", "agent"):
        container.service(name, "stubborn", requires=needed, program={"stopwaitsecs": "30"}, critical="yes")
        needed = name
    container.start()
    until(lambda: container.all_("healthy") and len(container.journal()) == 5)
    assert container.stop() == ExitCode.STOPPED
    assert container.journal()[-1] == "ended database"
    assert "stop.forced" not in container.output
    for name in ("agent", "rackd", "regiond"):
        assert f"SIGTERM {name}" in container.journal(), "each was asked first"


def test_stubborn_service_does_not_keep_the_others_from_being_told(container: Container) -> None:
    container.service("stubborn", "stubborn", program={"stopwaitsecs": "2"}, critical="yes")
    container.service("polite", critical="yes")
    container.service("quick", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and len(container.journal()) == 3)
    assert container.stop() == ExitCode.STOPPED
    assert {"ended polite", "ended quick", "SIGTERM stubborn"} <= set(container.journal())
    assert "stop.hurried" not in container.output, "supervisord kills what does not end, in good time"


def test_everything_is_over_before_docker_loses_patience(container: Container) -> None:
    container.service("stubborn", "stubborn", program={"stopwaitsecs": "600"}, critical="yes")
    container.service("polite", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and len(container.journal()) == 2)
    asked = time.monotonic()
    assert container.stop() == ExitCode.STOPPED
    took = time.monotonic() - asked
    assert "ended polite" in container.journal()
    stages = [line.split()[3] for line in container.lines if " maas-init stop." in line]
    assert stages == ["stop.requested", "stop.hurried", "stop.forced"]
    # The stages are 8 s and 1 s: Docker kills after 10. The rest is for slow machines.
    assert 8 <= took < 30


def test_second_request_hurries_and_a_third_kills(container: Container) -> None:
    container.service("stubborn", "stubborn", program={"stopwaitsecs": "600"}, critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and container.journal())
    for stage in ("stop.requested", "stop.hurried", "stop.forced"):
        container.signal(signal.SIGTERM)
        until(lambda stage=stage: stage in container.output or not container.running)  # type: ignore[misc]
    assert container.wait() == ExitCode.STOPPED
    assert container.output.index("stop.requested") < container.output.index("stop.hurried")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_container_stops_in_order_on_every_stop_signal(container: Container, number: signal.Signals) -> None:
    container.service("polite", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and container.journal())
    container.signal(number)
    assert container.wait() == ExitCode.STOPPED
    assert "ended polite" in container.journal()


def test_container_stops_while_services_are_still_starting(container: Container) -> None:
    container.service("bootstrap", type="oneshot", program=once("echo under way; exec sleep 1000"), critical="yes")
    container.service("web", requires="bootstrap")
    container.start()
    until(lambda: "under way" in container.output)
    assert container.stop() == ExitCode.STOPPED
    assert container.journal() == []


def test_container_stops_without_its_listener(container: Container) -> None:
    container.service("polite", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and container.journal())
    container.signal(signal.SIGSTOP, "health")
    container.signal(signal.SIGTERM)
    until(lambda: "stop.requested" in container.output)
    container.signal(signal.SIGTERM)
    container.wait()
    assert "SIGTERM polite" in container.journal()


def test_stuck_listener_is_replaced_when_everything_is_to_stop_and_the_next_one_keeps_the_order(
    container: Container,
) -> None:
    container.service("database", critical="yes")
    container.service("user", requires="database")
    container.start()
    until(lambda: container.all_("healthy") and len(container.journal()) == 2)
    container.signal(signal.SIGSTOP, "health")
    container.signal(signal.SIGTERM)
    assert container.wait() == ExitCode.STOPPED
    assert "listener.stuck" in container.output
    journal = container.journal()
    assert journal.index("ended user") < journal.index("SIGTERM database") < journal.index("ended database")


def test_nothing_outlives_the_container(container: Container) -> None:
    """A daemon's child that left its group and ignores SIGTERM is ended as well."""
    left = 'setsid sh -c "trap : TERM; while :; do sleep 1000; done" & echo $! > "$0.pid"; exec sleep 1000\n'
    (container.root / "leaves").write_text(left)
    container.service("leaver", command=f"/bin/sh {container.root}/leaves", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and (container.root / "leaves.pid").exists())
    mine = {process.pid for process in container.processes()}
    assert len(mine) >= 4
    assert container.stop() == ExitCode.STOPPED
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]
    assert container.lines[-1].endswith('container.stopped code=0 reason="asked to stop"')


def test_request_to_stop_is_heard_while_configuring(container: Container) -> None:
    """Before anything runs, SIGTERM ends the container at once: process 1 has no default action for it."""
    waits = container.root / "password"
    os.mkfifo(waits)
    container.service("never")
    container.start({"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(waits)})

    def read_by_somebody() -> int:
        try:
            return os.open(waits, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return 0

    writer = until(read_by_somebody)
    assert container.stop() == ExitCode.STOPPED
    os.close(writer)
    assert "stopped by SIGTERM before anything was running" in container.output
    assert container.journal() == []


def test_container_ends_with_10_when_a_service_that_must_not_fail_fails(container: Container) -> None:
    container.service("polite")
    (container.root / "must").write_text(f"until grep started {container.journal_file}; do sleep 0.1; done; exit 3\n")
    broken = {"command": f"/bin/sh {container.root}/must", "startsecs": "30", "startretries": "0"}
    container.service("must", program=broken, on_failure="shutdown", critical="yes")
    container.start()
    assert container.wait() == ExitCode.SERVICE_GAVE_UP
    assert 'code=10 reason="must gave up: ' in container.lines[-1]
    assert "exited with 3 right after its start" in container.lines[-1]
    assert "ended polite" in container.journal()


def test_container_ends_with_11_when_a_service_that_must_answer_does_not(container: Container) -> None:
    container.service("must", probed=True, on_check_failure="shutdown", critical="yes")
    container.answer("must")
    container.start()
    until(lambda: container.all_("healthy"))
    container.answer("must", yes=False)
    assert container.wait() == ExitCode.CHECK_GAVE_UP
    assert 'code=11 reason="must does not answer: ' in container.lines[-1]


def test_container_ends_with_75_when_the_database_does_not_come(container: Container) -> None:
    container.service("bootstrap", type="oneshot", program=once("exit 75"), critical="yes")
    container.start()
    assert container.wait() == ExitCode.DATABASE_UNAVAILABLE
    assert "code=75" in container.lines[-1]
    assert "database" in container.lines[-1]


def test_container_ends_with_78_and_one_message_when_settings_are_bad(container: Container) -> None:
    container.service("never")
    container.start(
        {"POSTGRES_PASSWORD": "", "MAAS_URL": "ftp://maas", "POSTGRES_PORT": "65536", "MAAS_ADMIN_PASSWORD": "a\nb"}
    )
    assert container.wait() == ExitCode.BAD_SETTINGS
    assert container.output.startswith("maas-init: cannot start: 4 settings need attention")
    for name in ("POSTGRES_PASSWORD", "MAAS_URL", "POSTGRES_PORT", "MAAS_ADMIN_PASSWORD"):
        assert name in container.output
    assert "Traceback" not in container.output
    assert container.journal() == []


def test_container_ends_with_78_when_a_service_file_is_bad(container: Container) -> None:
    container.service("odd", requires="nobody")
    container.start()
    assert container.wait() == ExitCode.BAD_SETTINGS
    assert "odd requires nobody, which no file describes" in container.output
    assert "Traceback" not in container.output


def test_container_ends_with_78_when_a_volume_cannot_be_written(container: Container) -> None:
    blocked = container.paths.maas_etc
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the directory should be")
    container.start()
    assert container.wait() == ExitCode.BAD_SETTINGS
    assert f"cannot write to {blocked}" in container.output
    assert "Traceback" not in container.output


@pytest.mark.parametrize("under", [(), ("sh", "-c", '"$@"; exit $?', "sh")], ids=["as process 1", "under another"])
def test_container_ends_when_supervisord_is_killed(container: Container, under: Sequence[str]) -> None:
    container.service("left", critical="yes")
    container.start(under=under)
    until(lambda: container.all_("healthy") and container.journal())
    left = container.pid("left")
    container.signal(signal.SIGKILL, "supervisord")
    assert container.wait() == 128 + signal.SIGKILL
    assert "SIGTERM left" in container.journal(), "nobody takes what is left from it before it is asked"
    assert not Path(f"/proc/{left}").exists()


def test_operator_s_shutdown_ends_the_container(container: Container) -> None:
    container.service("polite", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and container.journal())
    container.supervisorctl("shutdown")
    assert container.wait() == ExitCode.STOPPED
    assert "ended polite" in container.journal()


def test_leftovers_of_a_killed_container_do_not_confuse_the_next(container: Container) -> None:
    container.service("alpha", critical="yes")
    paths = container.paths
    paths.run.mkdir(parents=True)
    paths.listener_pid.write_text("1\n")
    paths.exit_reason.write_text('{"code": 11, "reason": "an old story"}')
    paths.health.write_text("healthy 999999999 an old story\n")
    paths.status.write_text(
        json.dumps(
            {
                "schema": 1,
                "level": "healthy",
                "services": {"alpha": {"desired": {"on": False, "owner": "operator", "reason": "then", "at": 0.0}}},
            }
        )
    )
    paths.supervisor_socket.touch()
    paths.pebble_socket.touch()
    lock = paths.at("/run/lock/maas:networks-monitoring")
    lock.parent.mkdir(parents=True)
    lock.symlink_to("1")
    kept = paths.maas_data / "maas_id"
    kept.parent.mkdir(parents=True)
    kept.write_text("abc")
    # A socket that nobody serves, Temporal's configuration and MAAS's site, all of the last run.
    names = ("dhcpd.sock", "maas-regiond-webapp.sock.3", "temporal/production.yaml", "http/regiond.nginx.conf")
    stale = [paths.maas_data / name for name in names]
    for file in stale:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    container.start()
    until(lambda: "service.ready service=alpha" in container.output)
    until(lambda: container.all_("healthy"))
    assert not lock.is_symlink()
    assert not [file for file in stale if file.exists()]
    assert kept.read_text() == "abc"
    assert container.stop() == ExitCode.STOPPED


# Any other command.


def test_other_command_is_run_as_it_is(container: Container) -> None:
    container.start({}, "sh", "-c", "echo it is process $$; exit 7")
    assert container.wait() == 7
    assert container.output == "it is process 1"
    assert list(container.root.glob("run")) == [], "nothing is prepared for it"
