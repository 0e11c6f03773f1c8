"""Every way to start a container: what runs, what does not and why. The table is docs/reference/ways-to-start.md."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from maas_init.services import who_misses

from . import docker
from .api import Api
from .docker import POSTGRES_PASSWORD, Container, until

PAGE = Path(__file__).parents[2] / "docs/reference/ways-to-start.md"

USERS = ("568", "0", "1234:0")
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE")
CAPS = {
    "Docker's own": (),
    "ALL dropped, three added": ("--cap-drop", "ALL", *(w for name in CAPABILITIES for w in ("--cap-add", name))),
    "ALL dropped": ("--cap-drop", "ALL"),
}
PRIVILEGES = {"may gain": (), "no-new-privileges": ("--security-opt", "no-new-privileges")}
NETWORKS = ("bridge", "host")
ROOTS = {"writable": (), "read-only": ("--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp")}


class Cell(NamedTuple):
    """One way to start it."""

    user: str
    caps: str
    privileges: str
    network: str
    root: str


CELLS = [Cell(*values) for values in itertools.product(USERS, CAPS, PRIVILEGES, NETWORKS, ROOTS)]

SETTLED = ("ready", "off", "blocked")
ONE_SHOTS = ("bootstrap", "tls")
"""They do something and end."""
STAYED = 5
"""Seconds that everything must have run: what ends right after its start is seen by then."""


class Seen(NamedTuple):
    """What came of it."""

    level: str
    ready: int
    off: tuple[str, ...]
    blocked: tuple[str, ...]
    """With the reason, where that is not another one in this list."""
    lacking: tuple[str, ...]
    """What could not be started if MAAS asked for it."""
    missing: tuple[str, ...]
    """Each capability that some service misses, with their names."""
    crashes: tuple[str, ...]
    """Ends that nobody wished, with whatever status, each with the service's last words; MAAS itself has some services
    restarted at their start."""
    answer: str
    dhcpd: str | None
    """Its level, and why, when MAAS asked for it; None where nobody asked."""

    def wrong(self) -> list[str]:
        """Return what must be in no way to start it."""
        found = [f"ended by itself: {each}" for each in self.crashes]
        if self.answer != "200":
            found.append(f"the region answered with HTTP status {self.answer}")
        told = [*self.blocked, *([f"dhcpd: {self.dhcpd}"] if self.dhcpd and self.dhcpd != "ready" else [])]
        if self.dhcpd and ("dhcpd" in self.lacking) != (self.dhcpd != "ready"):
            found.append(f"dhcpd is {self.dhcpd}, and of what it needs {self.missing} is missing")
        found += [f"no remedy is told: {each}" for each in told if not re.search("cap_add|no-new-priv", each)]
        return found


def pairs(cell: Cell) -> set[tuple[int, str, int, str]]:
    return {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(cell), 2)}


def covering(cells: Sequence[Cell]) -> list[Cell]:
    """Return some cells that have, together, every pair of values that all of them have."""
    left = set().union(*map(pairs, cells))
    chosen = []
    while left:
        best = max(cells, key=lambda cell: len(pairs(cell) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


class Ground:
    """What all cells share: PostgreSQL on a Unix socket, and a network namespace with a host's rules."""

    def __init__(self, image: str, network: str, postgres_image: str, directory: Path) -> None:
        self.image, self.network = image, network
        self._often = directory / "monitor-seconds"
        self._often.write_text("2\n")
        self._name = f"maas-init-test-{secrets.token_hex(4)}"
        docker.docker("volume", "create", self._name)
        docker.docker(
            *("run", "--detach", "--name", self._name, "--network", "none"),
            *("--env", f"POSTGRES_PASSWORD={POSTGRES_PASSWORD}", "--env", "POSTGRES_USER=maas"),
            *("--env", "POSTGRES_DB=maasdb", "--volume", f"{self._name}:/run/postgresql", postgres_image),
        )
        until(lambda: "1" in self.sql("SELECT 1", check=False), "the database")

    def sql(self, statement: str, *, check: bool = True) -> str:
        password = f"PGPASSWORD={POSTGRES_PASSWORD}"
        psql = ("psql", "--host", "/run/postgresql", "--username", "maas", "--quiet", "--no-align", "--tuples-only")
        return docker.docker(
            *("exec", "--env", password, self._name, *psql, "--dbname", "maasdb", "--command", statement), check=check
        )

    def close(self) -> None:
        docker.docker("rm", "--force", "--volumes", self._name, check=False)
        docker.docker("volume", "rm", self._name, check=False)

    @contextmanager
    def host(self) -> Iterator[Container]:
        """A network namespace with the rules of a host for ports below 1024, of which there may be several at once."""
        holder = Container(self.image, self.network)
        docker.docker(
            *("run", "--detach", "--name", holder.name, "--hostname", "maas", "--network", self.network),
            *("--sysctl", "net.ipv4.ip_unprivileged_port_start=1024", "--entrypoint", "sleep", self.image, "infinity"),
        )
        try:
            yield holder
        finally:
            holder.remove()

    def container(self, cell: Cell, network: str) -> Container:
        """Return a container that is to be started that way."""
        database = f"cell_{secrets.token_hex(4)}"
        self.sql(f"CREATE DATABASE {database}")
        settings = docker.SETTINGS | {"POSTGRES_HOST": "/run/database", "POSTGRES_DB": database}
        options = (
            # MAAS asks for DHCP within this many seconds, not 30.
            *("--volume", f"{self._often}:/etc/maas-simulator/monitor-seconds:ro"),
            *("--user", cell.user, "--volume", f"{self._name}:/run/database"),
            *(*CAPS[cell.caps], *PRIVILEGES[cell.privileges], *ROOTS[cell.root]),
        )
        return Container(self.image, network, settings, options)

    def look(self, cell: Cell) -> Seen:
        """Start it that way and tell what is seen."""
        if cell.network == "bridge":
            return self.seen(container := self.container(cell, self.network), container)
        with self.host() as host:
            return self.seen(self.container(cell, f"container:{host.name}"), host)

    def seen(self, container: Container, network: Container | None = None) -> Seen:
        """Start it, wait until everything has found its place, and tell which.

        Then have MAAS ask for DHCP, if the network is one of ours: that of `network`.
        """
        try:
            container.start_plainly()
            return _settled(container, network)
        finally:
            container.remove()

    def look_at_all(self, cells: Iterable[Cell], side_by_side: int) -> dict[Cell, Seen]:
        cells = list(cells)
        with ThreadPoolExecutor(side_by_side) as pool:
            return dict(zip(cells, pool.map(self.look, cells), strict=True))


def _youngest(container: Container) -> int:
    """Return the seconds since the last service was started."""
    told = container.execute("supervisorctl", "status", check=False)
    uptimes = re.findall(r"RUNNING +pid \d+, uptime (\d+):(\d+):(\d+)", told)
    return min((int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in uptimes), default=0)


def _dhcpd(container: Container, address: str) -> str:
    """Have MAAS ask for DHCP; return what became of that."""
    Api(container, at=f"{address}:5240").set_dhcp(address, on=True)

    def told() -> str | None:
        dhcpd = container.status()["services"]["dhcpd"]
        return {"ready": "ready", "blocked": dhcpd["because"]}.get(dhcpd["level"])

    return str(until(told, "dhcpd"))


def _crashes(log: str) -> Iterator[str]:
    """Yield what ended by itself, and its last words."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        found = re.search(r"exited: (\S+) \(.*", line)
        if found and found[1] not in ONE_SHOTS:
            own = [each for each in lines[:number] if f" {found[1]} " in each]
            yield "\n".join([found[0], *own[-15:]])


def _settled(container: Container, network: Container | None) -> Seen:
    def settled() -> bool:
        assert container.inspect(".State.Running"), f"it ended: {container.logs()[-4000:]}"
        levels = {name: each["level"] for name, each in container.status()["services"].items()}
        return set(levels.values()) <= set(SETTLED) and levels.get("api") == "ready" and levels.get("agent") != "off"

    try:
        until(settled, "everything in its place", within=600)
        until(lambda: _youngest(container) >= STAYED and settled(), "an end to restarts", within=600)
    except AssertionError as error:
        status = container.execute("maas-init", "status", check=False)
        raise AssertionError(f"{error}\n{container.options}\n{status}\n{container.logs()[-3000:]}") from error
    answer = container.execute(
        *("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"), "http://127.0.0.1:5240/MAAS/rpc/"
    )
    status = container.status()
    services: Mapping[str, dict[str, object]] = status["services"]
    blocked = {name: str(each["because"]) for name, each in services.items() if each["level"] == "blocked"}
    dhcpd = _dhcpd(container, network.address()) if network else None
    log = container.logs()
    lacking = re.findall(r"service\.lacking service=(\S+)", log)
    return Seen(
        level=status["level"],
        ready=sum(each["level"] == "ready" for each in services.values()),
        off=tuple(name for name, each in services.items() if each["level"] == "off"),
        blocked=tuple(f"{name}: {why}" for name, why in blocked.items()),
        lacking=tuple(sorted(name for name in lacking if name not in blocked)),
        missing=tuple(f"{name.upper()} ({', '.join(who)})" for name, who in who_misses(services).items()),
        crashes=tuple(_crashes(log)),
        answer=answer,
        dhcpd=dhcpd,
    )


# The page.

HEADER = """\
# Ways to start it, and what runs

<!-- Written by `make matrix` from what was seen; do not edit. -->

Every way of five choices, {cells} in all, each started with MAAS's simulator and a database beside it. In all of them
the region's web answer came (HTTP 200 on port 5240). `make test` starts those that have, together, every pair of
choices, and sees there that no service ends by itself. `host` is a network of its own with a host's rules: ports below
1024 only for those with NET_BIND_SERVICE; a test tries some of these ways on the real network of its machine, too. The
three are NET_ADMIN, NET_RAW and NET_BIND_SERVICE.

Off everywhere at first: {off}, which MAAS asks for.

What is blocked stands there with the reason and the remedy that `maas-init status` gives. *DHCP* says whether dhcpd
runs when MAAS asks for it (it did, after the rest was looked at). *Without* names who misses which capability.
User `0` becomes 568 where it has SETUID and SETGID; where all is dropped it stays root, without rights.

| user | capabilities | privileges | network | root file system | container | ready | blocked | DHCP | without |
|---|---|---|---|---|---|--:|---|---|---|
"""


def row(cell: Cell, seen: Seen) -> str:
    """Return a cell's line in the table."""
    who: dict[str, list[str]] = {}
    for name, why in sorted(each.split(": ", 1) for each in seen.blocked):
        who.setdefault(why, []).append(name)
    blocked = "; ".join(f"{', '.join(names)}: {why}" for why, names in who.items()) or "nothing"
    dhcp = "no" if "dhcpd" in seen.lacking else "yes"
    missing = ", ".join(seen.missing) or "nothing"
    return f"| {' | '.join(cell)} | {seen.level} | {seen.ready} | {blocked} | {dhcp} | {missing} |"


def page(found: Mapping[Cell, Seen]) -> str:
    """Return the whole page."""
    off = sorted({name for seen in found.values() for name in seen.off})
    rows = (row(cell, seen) for cell, seen in found.items())
    return HEADER.format(cells=len(found), off=", ".join(off)) + "\n".join(rows) + "\n"
