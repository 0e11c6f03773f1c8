"""Service files: what runs, what it needs, how we know it is well.

Each file in supervisord.conf.d has a section `[program:NAME]` for supervisord and a second one, `[service:NAME]`,
which supervisord ignores and this module reads. `[check:NAME]` describes something that is watched without a process
of ours (the database, the volumes). Keys carry systemd's names where systemd has one (docs/reference/services.md).
"""

from __future__ import annotations

import configparser
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ServiceFileError
from .settings import Settings, service_environment

ROLES = frozenset({"region", "rack"})


PROBES = {
    "certificate": 0,
    "discovery": 0,
    "disk-space": None,
    "dns": 3,
    "http": 2,
    "link": 2,
    "maas-url": 0,
    "memory": 1,
    "ntp": 1,
    "omapi": 2,
    "peer": 1,
    "postgres": 0,
    "proxy": 2,
    "postgres-server": 0,
    "regions": 0,
    "rpc": 1,
    "syslog": 2,
    "tcp": 2,
    "temporal": 2,
    "tftp": 2,
    "writable": None,
    "zone": 2,
}
"""Every probe and how many arguments it takes (None: at least one); they are in probes.py."""


CAPABILITIES = {
    "net_bind_service": "DNS, NTP, TFTP and DHCP need ports below 1024, where these are not free for all",
    "net_raw": "DHCP, and MAAS's discovery of what else is on its networks, need raw sockets",
}
"""Those of Linux that a service may be given, and what does not work without."""


def who_misses(services: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return each missing capability with the services that miss it; `services` are those of the status file."""
    names = sorted({name for each in services.values() for name in each["missing_capabilities"]})
    return {name: [who for who, each in services.items() if name in each["missing_capabilities"]] for name in names}


def without(services: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each missing capability: who misses it, and what does not work."""
    return [
        f"without {name.upper()} ({', '.join(who)}): {CAPABILITIES.get(name, 'what for is not known')}"
        for name, who in who_misses(services).items()
    ]


class Action(enum.Enum):
    """What to do when a service fails for good, or stays without an answer."""

    IGNORE = "ignore"
    RESTART = "restart"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class Check:
    """One real transaction, repeated: `kind` names the function in probes.py, `arguments` are handed to it."""

    kind: str
    arguments: tuple[str, ...] = ()
    every: float = 4.0
    """Seconds between two answers and the next question."""
    within: float = 2.0
    """Seconds in which the answer must come."""
    threshold: int = 3
    """So many failures in a row mean unwell."""
    start_within: float = 60.0
    """Seconds a process has for its first answer (systemd's TimeoutStartSec=)."""


@dataclass(frozen=True)
class Service:
    """One thing that runs or is watched; an absent property is an empty tuple, not None."""

    name: str
    description: str = ""
    unit: str = ""
    """The name of the systemd unit that MAAS's packages have for it."""
    roles: frozenset[str] = ROLES
    oneshot: bool = False
    """Runs to its end once; ready when it ended well (systemd's Type=oneshot)."""
    on_request: bool = False
    """Stays off until MAAS or the operator asks for it."""
    watched_only: bool = False
    """A `[check:NAME]`: no process of ours."""
    requires: tuple[str, ...] = ()
    """Starts when these are ready; is blocked, not at fault, while they are not."""
    binds_to: tuple[str, ...] = ()
    """Stops with these and does not come back by itself (systemd's BindsTo=)."""
    condition_path_exists: tuple[str, ...] = ()
    condition_environment: tuple[tuple[str, str], ...] = ()
    reloadable: bool = False
    """Reads its configuration again on SIGHUP; most would end."""
    ambient_capabilities: tuple[str, ...] = ()
    """What its processes may have; they have nothing else (systemd's AmbientCapabilities=)."""
    capabilities: tuple[str, ...] = ()
    """Those that it cannot do its work without; where one is missing it is not started, and that is said."""
    pass_environment: tuple[str, ...] = ()
    """Variables that it sees besides those that all see, if they are set (systemd's PassEnvironment=)."""
    listens: tuple[tuple[str, str, int], ...] = ()
    """Ports that nobody else may hold: protocol, address (or nothing: all of them), port."""
    refuses_root: bool = False
    """Its program does not run as root, not even where root has no rights."""
    configuration: tuple[str, ...] = ()
    """Files that it reads and maas-init writes: when one changes, it is reloaded or restarted."""
    reloads: tuple[str, ...] = ()
    """These read their configuration again when it becomes ready."""
    critical: bool = False
    """Without it the container is unhealthy; without any other service only degraded."""
    check: Check | None = None
    on_failure: Action = Action.RESTART
    on_check_failure: Action = Action.IGNORE
    remedy: str = ""
    """Of a check without a process: the one-shot that is run again when its answer is not good."""


@dataclass(frozen=True)
class Catalogue:
    """All services of this container and the files they come from."""

    services: tuple[Service, ...]
    files: tuple[Path, ...]

    def __getitem__(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)

    def __contains__(self, name: str) -> bool:
        return any(service.name == name for service in self.services)

    def dependants(self, name: str) -> tuple[str, ...]:
        """Return the services that need `name` directly: they stop before it."""
        return tuple(s.name for s in self.services if name in s.requires or name in s.binds_to)


def catalogue(settings: Settings, *directories: Path) -> Catalogue:
    """Return the services of a container with these settings. Raises ServiceFileError when a file cannot be used."""
    return read(*directories, roles=settings.roles, environment=service_environment(settings))


def service_files(*directories: Path) -> list[Path]:
    """Return every `*.conf` but hidden ones; one takes the place of its namesake in a directory before its own."""
    found = {file.name: file for directory in directories for file in directory.glob("[!.]*.conf")}
    return [found[name] for name in sorted(found)]


def read(*directories: Path, roles: Iterable[str], environment: Mapping[str, str]) -> Catalogue:
    """Read the `service_files` of these directories and keep what this container's roles and settings ask for.

    Raises ServiceFileError that names the file, the key, what was found and what is wanted.
    """
    everything: list[Service] = []
    origin: dict[str, Path] = {}
    considered = service_files(*directories)
    for file in considered:
        for service in read_file(file):
            if service.name in origin:
                raise ServiceFileError(f"cannot use {file}: {service.name} is already in {origin[service.name]}")
            origin[service.name] = file
            everything.append(service)
    _check_names(everything, origin)
    kept = [service for service in everything if _wanted(service, frozenset(roles), environment)]
    names = {service.name for service in kept}
    services = tuple(_without_absent(service, names) for service in kept)
    _check_circles(services)
    listeners = {file for file in considered if re.search(r"(?m)^\[eventlistener:", file.read_text("utf-8"))}
    if not listeners:
        raise ServiceFileError(
            f"cannot use {' and '.join(map(str, directories))}: "
            "no file there has the health listener's [eventlistener:health]"
        )
    files = sorted(listeners | {origin[service.name] for service in services})
    return Catalogue(services=services, files=tuple(files))


def read_file(file: Path) -> list[Service]:
    """Return the services and checks that one file describes."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(file.read_text(encoding="utf-8"), source=str(file))
    except (OSError, ValueError, configparser.Error) as error:
        raise ServiceFileError(f"cannot read {file}: {error}") from error
    services = []
    programs = {title.partition(":")[2] for title in parser if title.startswith("program:")}
    for name in programs:
        found = parser[f"program:{name}"].get("autostart", "true")
        if found != "false":
            raise ServiceFileError(
                f'cannot use {file}: [program:{name}] autostart is "{found}"',
                hint="give false: the health listener starts it, when what it needs is ready",
            )
    for title in parser:
        kind, _, name = title.partition(":")
        if kind not in ("service", "check"):
            continue
        if kind == "service" and name not in programs:
            raise ServiceFileError(f"cannot use {file}: [{title}] has no [program:{name}] beside it")
        services.append(_service(file, name, kind, parser[title]))
        programs.discard(name)
    if programs:
        name = sorted(programs)[0]
        raise ServiceFileError(f"cannot use {file}: [program:{name}] has no [service:{name}] beside it")
    return services


KEYS = {
    "description", "unit", "roles", "type", "start", "requires", "binds_to", "condition_path_exists",
    "condition_environment", "critical", "check", "check_every", "check_within", "check_threshold",
    "start_within", "on_failure", "on_check_failure", "ambient_capabilities", "capabilities", "pass_environment",
    "configuration", "reloadable", "reloads", "remedy", "refuses_root", "listens",
}  # fmt: skip


def _service(file: Path, name: str, kind: str, section: configparser.SectionProxy) -> Service:
    def refuse(key: str, wanted: str) -> ServiceFileError:
        return ServiceFileError(f'cannot use {file}: [{section.name}] {key} is "{section.get(key)}"', hint=wanted)

    for key in section:
        if key not in KEYS:
            raise refuse(key, f"no such key; the keys are {', '.join(sorted(KEYS))}")

    def choice(key: str, default: str, choices: tuple[str, ...]) -> str:
        value = section.get(key, default)
        if value not in choices:
            raise refuse(key, f"give one of {', '.join(choices)}")
        return value

    def number(key: str, default: float) -> float:
        try:
            value = float(section.get(key, str(default)))
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            raise refuse(key, "give a number greater than 0")
        return value

    def whole(key: str, default: int) -> int:
        value = number(key, default)
        if value != int(value):
            raise refuse(key, "give a whole number of at least 1")
        return int(value)

    def words(key: str) -> tuple[str, ...]:
        return tuple(section.get(key, "").split())

    check = words("check")
    if check and check[0] not in PROBES:
        raise refuse("check", f"give one of {', '.join(PROBES)}")
    if check:
        wanted, given = PROBES[check[0]], len(check) - 1
        if given < 1 if wanted is None else given != wanted:
            raise refuse("check", f"{check[0]} takes {'at least 1' if wanted is None else wanted} arguments")
    roles = frozenset(words("roles")) or ROLES
    if not roles <= ROLES:
        raise refuse("roles", "give region, rack or both")
    environment = tuple((word.partition("=")[0], word.partition("=")[2]) for word in words("condition_environment"))
    rights = _rights(kind, words, refuse)
    try:
        listens = tuple(map(_port, words("listens")))
    except ValueError:
        raise refuse("listens", "give PROTOCOL/PORT or PROTOCOL/ADDRESS:PORT, for example tcp/5240") from None
    return Service(
        name=name,
        description=section.get("description", ""),
        unit=section.get("unit", ""),
        roles=roles,
        oneshot=choice("type", "simple", ("simple", "oneshot")) == "oneshot",
        on_request=choice("start", "boot", ("boot", "request")) == "request",
        watched_only=kind == "check",
        requires=words("requires"),
        binds_to=words("binds_to"),
        condition_path_exists=words("condition_path_exists"),
        condition_environment=environment,
        ambient_capabilities=rights["ambient_capabilities"],
        capabilities=rights["capabilities"],
        pass_environment=rights["pass_environment"],
        listens=listens,
        refuses_root=choice("refuses_root", "no", ("yes", "no")) == "yes",
        configuration=words("configuration"),
        reloadable=choice("reloadable", "no", ("yes", "no")) == "yes",
        reloads=words("reloads"),
        critical=choice("critical", "no", ("yes", "no")) == "yes",
        check=Check(
            kind=check[0],
            arguments=check[1:],
            every=number("check_every", Check.every),
            within=number("check_within", Check.within),
            threshold=whole("check_threshold", 3),
            start_within=number("start_within", 60.0),
        )
        if check
        else None,
        on_failure=Action(choice("on_failure", "restart", ("restart", "shutdown"))),
        remedy=section.get("remedy", ""),
        on_check_failure=Action(choice("on_check_failure", "ignore", ("ignore", "restart", "shutdown"))),
    )


def _rights(
    kind: str, words: Callable[[str], tuple[str, ...]], refuse: Callable[[str, str], ServiceFileError]
) -> dict[str, tuple[str, ...]]:
    """Return what a service may do and see."""
    for key in ("ambient_capabilities", "capabilities"):
        if not CAPABILITIES.keys() >= set(words(key)):
            raise refuse(key, f"give some of {', '.join(CAPABILITIES)}")
    found = {key: words(key) for key in ("ambient_capabilities", "capabilities", "pass_environment")}
    ambient = found["ambient_capabilities"]
    if kind == "service" and not set(ambient).issuperset(found["capabilities"]):
        raise refuse(
            "capabilities", f"it is not given all of them: ambient_capabilities is {' '.join(ambient) or 'empty'}"
        )
    for key in ("ambient_capabilities", "pass_environment"):
        if kind == "check" and words(key):
            raise refuse(key, "a check has no process; leave it out")
    if not all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", word) for word in words("pass_environment")):
        raise refuse("pass_environment", "give names of variables, separated by spaces")
    return found


def _port(text: str) -> tuple[str, str, int]:
    found = re.fullmatch(r"(tcp|udp)/(?:([0-9.]+):)?([0-9]{1,5})", text)
    if not found:
        raise ValueError
    return found[1], found[2] or "", int(found[3])


def _wanted(service: Service, roles: frozenset[str], environment: Mapping[str, str]) -> bool:
    return bool(service.roles & roles) and all(
        environment.get(name) == value for name, value in service.condition_environment
    )


def _without_absent(service: Service, names: set[str]) -> Service:
    # What this container does not have cannot be waited for (systemd's After= does the same).
    return replace(
        service,
        requires=tuple(name for name in service.requires if name in names),
        binds_to=tuple(name for name in service.binds_to if name in names),
        reloads=tuple(name for name in service.reloads if name in names),
        remedy=service.remedy if service.remedy in names else "",
    )


def _check_names(services: list[Service], origin: Mapping[str, Path]) -> None:
    for service in services:
        for name in (*service.requires, *service.binds_to, *service.reloads, *filter(None, [service.remedy])):
            if name not in origin:
                raise ServiceFileError(
                    f"cannot use {origin[service.name]}: {service.name} requires {name}, which no file describes",
                    hint=f"the services are {', '.join(sorted(origin))}",
                )


def _check_circles(services: tuple[Service, ...]) -> None:
    left = {service.name: {*service.requires, *service.binds_to} for service in services}
    while left:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        if not free:
            raise ServiceFileError(f"cannot order the services: {', '.join(sorted(left))} wait for each other")
        for name in free:
            del left[name]
