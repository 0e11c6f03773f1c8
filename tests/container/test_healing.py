"""What hangs, breaks or is taken away: it is named, healed, and nothing else is touched."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Run
from .docker import Container, docker, until
from .faults import fault

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def maas(new: Run) -> Iterator[Container]:
    container = new("--tmpfs", "/tmp/maas:uid=568,gid=568,size=600m").run()
    container.until_healthy()
    yield container


def healed(maas: Container, service: str, before: dict[str, int], *, also: tuple[str, ...] = ()) -> None:
    """Wait until a service has another process and all is well; of the others only those `also` named changed."""
    until(lambda: maas.processes().get(service, before[service]) != before[service], f"another {service}")
    maas.until_healthy()
    after = maas.processes()
    assert {name for name, pid in before.items() if after.get(name) != pid} <= {service, *also}


FOLLOWERS = {
    "temporal": ("temporal-worker", "agent"),
    "rackd": ("agent",),
    "postgresql": ("temporal", "temporal-worker", "agent"),
    "regiond": ("syslog", "ntp", "temporal", "temporal-worker"),
}
"""What may change with it: the worker ends without Temporal, the agent is bound to rackd, and a region that starts asks
for its services itself."""


@pytest.mark.parametrize(
    "service", ["bind9", "http", "proxy", "ntp", "syslog", "discovery", "postgresql", "temporal", "regiond", "rackd"]
)
def test_suspended_service_is_found_and_restarted_and_the_others_stay(maas: Container, service: str) -> None:
    before = maas.processes()
    told = maas.logs()
    with fault(maas, f"`{service}` is suspended", under="hangs"):
        maas.execute("kill", "-STOP", str(before[service]))
        until(lambda: f"service.restarted service={service} " in maas.logs(), "the remedy")
        healed(maas, service, before, also=FOLLOWERS.get(service, ()))
    assert set(re.findall(r"service\.restarted service=(\S+)", maas.logs().removeprefix(told))) == {service}
    assert f"{service} was restarted because it does not answer: " in maas.execute("maas-init", "why", service)


ASK_TO_RELOAD = """
import json, sys, time
from maas_init import asking
from maas_init.paths import Paths
where, (service, before) = Paths(), sys.argv[1:]
while not time.sleep(0.002):
    now = json.loads(where.status.read_text())["services"][service]
    if now["pid"] not in (None, int(before)):
        payload = {"signal": "SIGHUP", "services": [service]}
        status, answer = asking.ask(where.pebble_socket, "POST", "/v1/signals", payload)
        assert status == 200, answer
        if now["level"] == "ready":
            break
"""


@pytest.mark.parametrize("service", ["http", "proxy"])
def test_reload_that_is_asked_for_at_every_moment_of_a_start_ends_nothing(maas: Container, service: str) -> None:
    """squid ends by a hangup between its listening for it and its first turn, a few milliseconds of them."""
    told = maas.logs()
    for _ in range(3):
        before = maas.processes()[service]
        maas.execute("supervisorctl", "signal", "KILL", service)
        maas.execute("/opt/maas-init/bin/python3", "-c", ASK_TO_RELOAD, service, str(before))
    maas.until_healthy()
    # Each was killed once, and ended no other time.
    assert maas.logs().removeprefix(told).count(f"exited: {service} ") == 3


def test_what_discovery_runs_ends_with_it_and_maas_asks_anew(maas: Container) -> None:
    def watching() -> set[str]:
        return {"tcpdump", "maas-netmon"} & set(maas.execute("ps", "-eo", "comm").split())

    until(lambda: len(watching()) == 2, "MAAS's look at its networks")
    maas.execute("supervisorctl", "stop", "discovery")
    until(lambda: not watching(), "its end")
    maas.execute("supervisorctl", "start", "discovery")
    until(lambda: len(watching()) == 2, "MAAS's next try")


def test_broken_configuration_is_named_until_it_is_mended(maas: Container) -> None:
    before = maas.processes()
    options = "/etc/bind/named.conf.options"
    with fault(maas, "`bind9` dies and its configuration is broken, until that is mended", under="breaks"):
        maas.execute("sh", "-c", f"cp {options} /tmp/maas/kept && echo 'nonsense;' >> {options}")
        maas.execute("kill", "-9", str(before["bind9"]))
        until(lambda: "bind9 is down: exited with 1" in maas.status()["summary"], "the reason")
        until(lambda: maas.health() == "unhealthy", "unhealthy")
        assert "unknown option 'nonsense'" in maas.execute("maas-init", "why", "bind9")
        maas.execute("sh", "-c", f"cat /tmp/maas/kept > {options}")
        healed(maas, "bind9", before)


THIEF = """
import socket
thief = socket.create_server(("", 5240))
open("/tmp/maas/stolen", "w").close()
while True:
    thief.accept()[0].close()
"""


def test_port_that_somebody_else_took_is_told_until_it_is_free(maas: Container) -> None:
    before = maas.processes()
    maas.execute("supervisorctl", "stop", "http")
    docker("exec", "--detach", maas.name, "python3", "-c", THIEF)
    until(lambda: "stolen" in maas.execute("ls", "/tmp/maas"), "the thief")
    maas.execute("supervisorctl", "start", "http", check=False)
    taken = "http is blocked: port 5240/tcp is taken: python3 (process "
    until(lambda: taken in maas.status()["summary"], "the trouble")
    with fault(maas, "another program has the port of `http`, until it ends", under="breaks"):
        assert "bind() to 0.0.0.0:5240 failed (98: Address already in use)" in maas.execute("maas-init", "why", "http")
        assert maas.status()["services"]["regiond"]["level"] == "ready"
        maas.execute("pkill", "-9", "-f", "stolen")
        healed(maas, "http", before)


def test_full_volume_is_told_and_forgiven(maas: Container) -> None:
    before = maas.processes()
    maas.execute("sh", "-c", "head -c 300M /dev/zero > /tmp/maas/fills")
    until(lambda: "MB are free in /tmp/maas, less than 500" in maas.status()["services"]["disk-space"]["why"], "little")
    assert maas.status()["level"] == "degraded"
    with fault(maas, "a volume is full, until there is room", under="breaks"):
        maas.execute("sh", "-c", "cat /dev/zero > /tmp/maas/fills", check=False)
        until(lambda: "cannot write in /tmp/maas: No space left on device" in maas.status()["summary"], "none")
        until(lambda: maas.health() == "unhealthy", "unhealthy")
        maas.execute("rm", "/tmp/maas/fills")
        maas.until_healthy()
    assert before.items() <= maas.processes().items(), "the agent may have come meanwhile"


def test_database_that_is_away_for_a_minute_restarts_nothing(maas: Container) -> None:
    with fault(maas, "the database is away for a minute", under="breaks"):
        maas.execute("supervisorctl", "stop", "postgresql")
        before = maas.processes()
        gone = time.monotonic()
        until(lambda: time.monotonic() - gone > 60, "a minute")
        assert maas.status()["summary"].startswith("postgresql is off: operator wants it off")
        suffering = {name for name, service in maas.status()["services"].items() if service["level"] == "blocked"}
        assert {"regiond", "apiserver", "api"} <= suffering
        maas.execute("supervisorctl", "start", "postgresql")
        maas.until_healthy()
    after = maas.processes()
    # Real Temporal, and the simulator's, may end when their database goes.
    assert {name for name, pid in before.items() if after.get(name) != pid} <= {*FOLLOWERS["postgresql"]}
    assert not [line for line in maas.logs().splitlines() if "service.restarted" in line and "regiond" in line][1:]


@pytest.mark.parametrize("service", ["bind9", "regiond", "postgresql", "health"])
def test_killed_service_is_back_and_the_others_stay(maas: Container, service: str) -> None:
    before = maas.processes()
    with fault(maas, f"`{service}` is killed", under="dies"):
        maas.execute("kill", "-9", str(before[service]))
        healed(maas, service, before, also=FOLLOWERS.get(service, ()))


DAY, READY = 86_400, "service.ready service=bind9"


def test_clock_that_is_set_by_a_day_and_back_restarts_nothing_and_delays_nothing(
    new: Run, preloaded: Callable[[str], tuple[str, ...]], tmp_path: Path
) -> None:
    """A container has the clock of its host: that of this one's programs is set, all of them."""
    (step := tmp_path / "clock").mkdir()
    maas = new(*preloaded("clock_step.c"), "--volume", f"{step}:/etc/clock:ro").run()
    maas.until_healthy()
    for days, what in ((1, "the clock is set forward by a day"), (0, "the clock is set back by a day")):
        before, ready = maas.processes(), maas.logs().count(READY)
        with fault(maas, f"{what}, and `bind9` is killed twice", under="breaks"):
            (step / "new").write_text(f"{days * DAY}\n")
            (step / "new").rename(step / "ahead")
            today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * DAY))
            assert maas.execute("date", "-u", "+%Y-%m-%d").strip() == today
            for death in (1, 2):
                maas.execute("kill", "-9", str(maas.processes()["bind9"]))
                until(lambda: maas.logs().count(READY) == ready + death, "bind9")  # noqa: B023
            healed(maas, "bind9", before)
        assert maas.health() == "healthy"


ORPHANS = 3000


def test_a_fork_bomb_s_worth_of_orphans_leaves_no_zombie(maas: Container) -> None:
    before = maas.processes()
    with fault(maas, f"{ORPHANS:,} processes lose their parent within seconds", under="breaks"):
        maas.execute("sh", "-c", f"i=0; while [ $i -lt {ORPHANS} ]; do (sleep 0.01 &); i=$((i+1)); done")
        until(lambda: "sleep 0.01" not in maas.execute("ps", "-eo", "args"), "the end of the orphans")
        until(lambda: not [stat for stat in maas.execute("ps", "-eo", "stat=").split() if stat[0] == "Z"], "no zombies")
        maas.until_healthy()
    assert maas.processes() == before


def test_stuck_listener_is_replaced_and_the_services_stay(maas: Container) -> None:
    before = maas.processes()
    with fault(maas, "the health listener is suspended", under="hangs"):
        maas.execute("kill", "-STOP", str(before["health"]))
        healed(maas, "health", before)
    assert "listener.stuck" in maas.logs()


def kill_supervisord(maas: Container) -> None:
    """Kill it, start the container again, and see that the database had its clean stop."""
    maas.execute("pkill", "-9", "-f", "supervisord.conf")
    assert maas.wait() == 137
    before = maas.logs()  # supervisord kept the logs: the database's last words are not among them
    docker("start", maas.name)
    maas.until_healthy()
    assert "database system was shut down at " in maas.logs().removeprefix(before)


def test_killed_supervisord_ends_the_container_and_the_database_ends_well(maas: Container) -> None:
    """The last one of `maas`: it ends the container."""
    with fault(maas, "supervisord is killed; the container ends and is started again", under="dies"):
        kill_supervisord(maas)


def test_database_ends_well_also_where_docker_s_own_init_is_process_1(new: Run) -> None:
    maas = new("--init").run()
    maas.until_healthy()
    kill_supervisord(maas)
