"""What each process may do and see, however the container was started: the kernel is asked, from outside."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_init import services
from maas_init.confine import NUMBERS
from maas_init.discovery import WAIT

from .conftest import Run
from .docker import Container, docker, host_pids, until

pytestmark = pytest.mark.container

FILES = sorted((Path(__file__).parents[2] / "supervisord.conf.d").glob("*.conf"))
OURS = {each.name: each for file in FILES for each in services.read_file(file) if not each.watched_only}

ALL_SEE = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "PWD"}
"""The last is the shell's, where one starts the service."""
RAW = frozenset({"net_raw"})
NAMES = {"LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP"}
"""What has programs know a user that the image does not."""

WAYS = {
    # As on a host that lets only those ping who may open raw sockets.
    "user 568": ("--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ping_group_range=1 0"),
    "root": ("--user", "0", "--cap-add", "NET_ADMIN"),
    "any user": ("--user", "1234:0"),
    "no new privileges": ("--security-opt", "no-new-privileges"),
    # As the page on users says: what root needs to become one, and no more.
    "root with what it needs": (
        *("--user", "0", "--security-opt", "no-new-privileges", "--cap-drop", "ALL"),
        *(word for name in ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE") for word in ("--cap-add", name)),
    ),
}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def maas(new: Run, way: str) -> Iterator[Container]:
    container = new(*WAYS[way]).run()
    blocked = {"discovery"} if way == "no new privileges" else set()

    def rest() -> set[str]:
        return {name for name, each in container.status()["services"].items() if each["level"] not in ("ready", "off")}

    until(lambda: container.health() == "healthy" and rest() == blocked, "everything that can run")
    until(lambda: "agent" in container.processes(), "the last of the services")
    yield container
    container.remove()


def facts(pid: int) -> dict[str, str]:
    """Return /proc/PID/status of a process; nothing when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def by_service(maas: Container) -> list[tuple[str, bool, int, dict[str, str]]]:
    """Return the service of each process, whether it is its first one, its id on this machine, and its facts."""
    everything = {pid: found for pid in host_pids(maas) if (found := facts(pid))}
    first = {inside: name for name, inside in maas.processes().items()}

    def service(pid: int) -> str:
        while pid in everything:
            name = first.get(int(everything[pid]["NSpid"].split()[-1]))
            if name:
                return name
            pid = int(everything[pid]["PPid"])
        return ""

    return [(service(pid), int(found["NSpid"].split()[-1]) in first, pid, found) for pid, found in everything.items()]


def mask(names: frozenset[str]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def test_each_process_has_the_capabilities_of_its_service_and_no_other(maas: Container, way: str) -> None:
    available = frozenset() if way == "no new privileges" else frozenset(services.CAPABILITIES)
    given = {name: mask(available & frozenset(each.ambient_capabilities)) for name, each in OURS.items()}
    given["health"] = mask(available)
    seen = set()
    for name, _, _, found in by_service(maas):
        if name:
            seen.add(name)
            sets = {int(found[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
            assert sets == {given[name]}, f"{name}: {found}"
            assert found["NoNewPrivs"] == "1", f"{name}: {found}"
    blocked = {"discovery"} if way == "no new privileges" else set()
    assert seen == {*OURS, "health"} - {"bootstrap", "tls", "dhcpd", "dhcpd6"} - blocked


def test_process_1_has_none_and_supervisord_what_it_hands_down(maas: Container, way: str) -> None:
    init = facts(int(maas.inspect(".State.Pid")))
    assert {int(init[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    told = "1" if "no-new-privileges" in WAYS[way] else "0"
    assert init["NoNewPrivs"] == told, "it tells how the container was started"

    supervisord = int(maas.execute("supervisorctl", "pid"))
    found = next(each for _, _, _, each in by_service(maas) if int(each["NSpid"].split()[-1]) == supervisord)
    available = frozenset() if way == "no new privileges" else frozenset(services.CAPABILITIES)
    assert {int(found[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {mask(available)}
    assert found["NoNewPrivs"] == "1"


def test_each_service_sees_what_its_file_names_and_what_all_see(maas: Container, way: str) -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    parser.read(FILES)
    for name, first, pid, _ in by_service(maas):
        if first:
            said = parser.get(f"program:{name}", "environment", fallback="")
            allowed = ALL_SEE | (NAMES if way == "any user" else set()) | set(re.findall(r'(\w+)="', said))
            allowed |= set(OURS[name].pass_environment) if name in OURS else set()
            environ = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
            # nginx writes its title over what is there.
            seen = {match[1] for each in environ if (match := re.match(r"(\w+)=", each))}
            assert {each for each in seen if not each.startswith("SUPERVISOR_")} <= allowed, name
            assert ("PEBBLE" in seen) is (name in ("regiond", "rackd")), name


def test_no_process_of_ours_dumps_its_memory(maas: Container) -> None:
    first = int(maas.inspect(".State.Pid"))
    for name, _, pid, found in by_service(maas):
        if name or pid == first or int(found["PPid"]) == first:  # nobody's else are programs that we run from outside
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"^Max core file size +([01]) +\1 ", limits, re.MULTILINE), (name, limits)


def test_what_watches_the_networks_can_or_it_is_said(maas: Container, way: str) -> None:
    told = maas.execute("maas-init", "why", "discovery")
    if way == "no new privileges":
        assert "it needs NET_RAW, which this container does not have" in told
        return
    assert "it opens raw sockets" in told
    for program in ("tcpdump", "maas-netmon"):
        asked = [(name, int(found["CapEff"], 16)) for name, found in running(maas, program)]
        assert asked == [("discovery", mask(RAW))], program
    # MAAS's own part watches nothing itself, but reads what these see.
    (name, found), *_ = running(maas, "observe-beacons")
    assert name in ("regiond", "rackd")
    assert not int(found["CapEff"], 16) & mask(RAW)


@pytest.fixture
def neighbour(way: str, maas: Container) -> Iterator[str]:
    """The address of another container, on a network that is small enough to be scanned."""
    number = 16 * list(WAYS).index(way)
    docker(
        *("network", "create", "-o", "com.docker.network.bridge.enable_ip_masquerade=false"),
        *("--subnet", f"198.51.100.{number}/28", f"{maas.name}-scanned"),
    )
    holder = f"{maas.name}-neighbour"
    try:
        docker("network", "connect", f"{maas.name}-scanned", maas.name)
        docker(
            *("run", "--detach", "--name", holder, "--network", f"{maas.name}-scanned"),
            *("--entrypoint", "sleep", maas.image, "infinity"),
        )
        yield docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", holder).strip()
    finally:
        docker("rm", "--force", holder, check=False)
        docker("network", "disconnect", "--force", f"{maas.name}-scanned", maas.name, check=False)
        docker("network", "rm", f"{maas.name}-scanned", check=False)


def test_scan_that_maas_asks_for_sees_the_neighbours(maas: Container, neighbour: str, way: str) -> None:
    interface = maas.execute("ip", "-json", "route", "get", neighbour).partition('"dev":"')[2].partition('"')[0]
    cidr = f"{neighbour.rpartition('.')[0]}.{int(neighbour.rpartition('.')[2]) // 16 * 16}/28"
    # As rackd says it; what nmap itself finds, MAAS throws away: its observers hear the answers.
    said = maas.execute("sudo", "-n", "/usr/lib/maas/maas-common", "scan-network", "--threads", "1", interface)
    assert f'"cidr": "{cidr}", "returncode": 0' in said, said
    if way != "no new privileges":
        found = maas.execute("sudo", "-n", "nmap", "-e", interface, "-sn", "-n", "-oX", "-", "-PR", cidr)
        assert re.search(rf'reason="arp-response".*\n<address addr="{re.escape(neighbour)}"', found), found
    # The other way that it knows, without sudo.
    scan = ("/usr/lib/maas/maas-common", "scan-network", "--ping", "--threads", "7", interface)
    said = maas.execute("sudo", "-n", *scan)
    assert f'"ip": "{neighbour}", "result": true' in said, said


def test_maas_can_ask_whether_an_address_is_free(maas: Container, neighbour: str) -> None:
    assert "1 received" in maas.execute("ping", "-c", "1", neighbour)


def running(maas: Container, word: str) -> list[tuple[str, dict[str, str]]]:
    """Wait for processes that have this in their command line; return whose they are, and their facts."""
    return list(until(lambda: _running(maas, word), word))


def _running(maas: Container, word: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for name, _, pid, told in by_service(maas):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        # sudo, and what becomes of it, has its name in the command line, too.
        asking = (b"/bin/sudo\0", b"maas-init\0discovery\0", WAIT.encode())
        if word.encode() in command and not any(each in command for each in asking):
            found.append((name, told))
    return found
