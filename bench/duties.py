"""The duties: what is asked of every peer, and what is measured. Each yields the values of one repetition."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from .life import Life, Never, cpu_milliseconds, now, pss_mebibytes, until, wake_ups
from .peers import OURS, OURS_IN_A_REGION, PYPI_PROGRAMS, STOCK, TOY, Peer, Service, services, supervisord_conf

COUNT = 13
"""As many services as MAAS has."""
SETTLED = 4.0
"""Seconds after which every peer counts a service as started for good."""
BY_DOCKER = 9900.0
"""Milliseconds; after 10 s `docker stop` kills."""


@dataclass(frozen=True)
class Value:
    """One measurement; None when it did not happen in the time it was given."""

    who: str
    what: str
    value: float | None


Values = Iterator[Value]


@dataclass(frozen=True)
class Duty:
    """One thing that is asked, with the words that explain its table."""

    name: str
    title: str
    explanation: str
    once: Callable[[Sequence[Peer]], Values]
    """Yield the values of one repetition, peers in the given order."""


def _each(measure: Callable[[Peer], Iterator[tuple[str, float | None]]]) -> Callable[[Sequence[Peer]], Values]:
    """Return what measures one peer after the other."""

    def once(peers: Sequence[Peer]) -> Values:
        for peer in peers:
            for what, value in measure(peer):
                yield Value(peer.name, what, value)

    return once


def _at_once(measure: Callable[[Peer], Iterator[tuple[str, float | None]]]) -> Callable[[Sequence[Peer]], Values]:
    """Return what measures all peers at the same time: for what is mostly waiting."""

    def once(peers: Sequence[Peer]) -> Values:
        with ThreadPoolExecutor(len(peers)) as pool:
            found = list(pool.map(lambda peer: list(measure(peer)), peers))
        for peer, values in zip(peers, found, strict=True):
            for what, value in values:
                yield Value(peer.name, what, value)

    return once


def _maybe(measure: Callable[[], float]) -> float | None:
    try:
        return measure()
    except Never:
        return None


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _answering(count: int, probed: int) -> list[Service]:
    """Return services that answer HTTP, of which so many are to be asked."""
    return [
        replace(service, port=port, probed=number < probed)
        for number, (service, port) in enumerate(zip(services(count), _ports(count), strict=True))
    ]


def start(peer: Peer) -> Iterator[tuple[str, float | None]]:
    with Life(peer, services(COUNT)) as life:
        first, *_, last = life.started()
        yield "first service, ms", first.at - life.executed
        yield f"{COUNT}th service, ms", last.at - life.executed


def crash(peer: Peer) -> Iterator[tuple[str, float | None]]:
    if not peer.restarts:
        return
    with Life(peer, services(COUNT)) as life:
        life.started()
        time.sleep(SETTLED)
        for service in life.services[:3]:
            yield "settled, ms", _maybe(lambda name=service.name: life.killed(name, within=20))  # type: ignore[misc]


def crashes(peer: Peer) -> Iterator[tuple[str, float | None]]:
    if not peer.restarts:
        return
    with Life(peer, services(COUNT)) as life:
        life.started()
        time.sleep(SETTLED)
        came = True
        for number in ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th"):
            took = _maybe(lambda: life.killed("service007", within=10)) if came else None
            came = took is not None
            yield f"{number}, ms", took


def hung(peer: Peer) -> Iterator[tuple[str, float | None]]:
    if not peer.asks:
        return
    with Life(peer, _answering(COUNT, probed=1)) as life:
        life.started()
        # Somewhere between two questions, so that nothing is gained or lost by being in step.
        time.sleep(SETTLED + random.uniform(0, 5))
        name = life.services[0].name
        before = len(life.notes("start", name))
        at = life.signal(signal.SIGUSR1, name)
        yield "restarted after, s", _maybe(lambda: (life.wait_for("start", name, after=at, within=90).at - at) / 1000)
        yield "restarts before that", float(before - 1)


def stop(peer: Peer) -> Iterator[tuple[str, float | None]]:
    with Life(peer, services(COUNT)) as life:
        life.started()
        time.sleep(SETTLED)
        _, took, code = life.stopped(within=20)
        yield "exit after, ms", took
        yield f"told, of {COUNT}", float(len(life.notes("told")))
        yield "exit code", float(code)


def stubborn(peer: Peer) -> Iterator[tuple[str, float | None]]:
    wanted = services(COUNT)
    wanted[6] = replace(wanted[6], habits=("stubborn",))
    with Life(peer, wanted) as life:
        life.started()
        time.sleep(SETTLED)
        began = now()
        took: float | None = None
        code: float | None = None
        with contextlib.suppress(Never):
            began, took, code = life.stopped(within=30)
        told = [note.at - began for note in life.notes("told") if note.name != wanted[6].name]
        yield "last of the others told after, ms", max(told) if len(told) == COUNT - 1 else None
        yield f"others told within {BY_DOCKER / 1000:g} s, of {COUNT - 1}", float(sum(at < BY_DOCKER for at in told))
        yield "exit after, s", None if took is None else took / 1000
        yield "exit code", code


ORPHANS = 10_000


def orphans(peer: Peer) -> Iterator[tuple[str, float | None]]:
    wanted = services(COUNT)
    wanted[0] = replace(wanted[0], habits=(f"orphans={ORPHANS}",))
    with Life(peer, wanted) as life:
        life.started()
        time.sleep(SETTLED)
        before = len(life.output())
        supervisors = life.supervisors()
        used = cpu_milliseconds(supervisors)
        life.signal(signal.SIGUSR2, wanted[0].name)
        gone = life.wait_for("orphans", within=120)
        yield "none left after, ms", gone.first / 1000 if gone.second == 0 else None
        yield "left after 20 s", float(gone.second)
        yield "most at once", float(life.wait_for("most").first)
        yield "CPU, ms", cpu_milliseconds(supervisors) - used
        time.sleep(7)  # what it says about it: ours counts for five seconds
        yield "log lines", float(len(life.output()) - before)


def memory(peers: Sequence[Peer]) -> Values:
    """One after the other: what two use together would count half."""
    for peer in [*peers, *([OURS_IN_A_REGION] if OURS in peers else [])]:
        with Life(peer, _answering(COUNT, probed=COUNT if peer in (OURS, OURS_IN_A_REGION) else 1)) as life:
            life.started()
            time.sleep(SETTLED + 6)
            supervisors = life.supervisors()
            yield Value(peer.name, "PSS, MiB", pss_mebibytes(supervisors))
            yield Value(peer.name, "of that process 1, MiB", pss_mebibytes([life.init]))
            yield Value(peer.name, "processes", float(len(supervisors)))


IDLE_SECONDS = 60


def idle(peers: Sequence[Peer]) -> Values:
    """All at the same time: they do next to nothing."""
    with contextlib.ExitStack() as stack:
        lives = [
            stack.enter_context(Life(peer, _answering(COUNT, probed=COUNT if peer is OURS else 1))) for peer in peers
        ]
        if OURS in peers:
            # The same without anybody being asked, which is what the others do.
            lives.append(stack.enter_context(Life(replace(OURS, name=f"{OURS.name}, no probes"), services(COUNT))))
        for life in lives:
            life.started()
        time.sleep(SETTLED + 16)  # ours loads what writes its metrics only when it has run for a while
        supervisors = [life.supervisors() for life in lives]
        before = [(cpu_milliseconds(pids), wake_ups(pids)) for pids in supervisors]
        time.sleep(IDLE_SECONDS)
        for life, pids, (used, woken) in zip(lives, supervisors, before, strict=True):
            yield Value(life.peer.name, "CPU, ms/min", (cpu_milliseconds(pids) - used) * 60 / IDLE_SECONDS)
            yield Value(life.peer.name, "wake-ups/min", (wake_ups(pids) - woken) * 60 / IDLE_SECONDS)


HEALTHCHECK = Path(__file__).parents[1] / "maas_init/bridge/healthcheck.sh"
SHELL_CHECK = "pg_isready -q -h 127.0.0.1 -p {port}; curl -fsS -o /dev/null http://127.0.0.1:{port}/; " + "; ".join(
    ["pgrep -x toy"] * 5
)


def healthcheck(_: Sequence[Peer]) -> Values:
    """The commands, beside running services."""
    with Life(OURS, _answering(COUNT, probed=COUNT)) as ours, Life(STOCK, services(COUNT)) as stock:
        ours.started()
        stock.started()
        health = ours.root / "run/maas-init/health"
        until(health.exists)
        commands = {
            f"{OURS.name}: healthcheck.sh": [os.fspath(HEALTHCHECK)],
            "supervisorctl status": [
                f"{PYPI_PROGRAMS}/supervisorctl",
                "-c",
                f"{supervisord_conf(stock.root)}",
                "status",
            ],
            "sh + pg_isready + curl + 5 pgrep": ["sh", "-c", SHELL_CHECK.format(port=ours.services[0].port)],
            "/bin/true": ["/bin/true"],
        }
        for _turn in range(5):
            for who, argv in commands.items():
                wall, cpu, size = _cost(argv, {"MAAS_INIT_HEALTH": os.fspath(health)})
                yield Value(who, "CPU, ms", cpu / 1000)
                yield Value(who, "wall, ms", wall / 1000)
                yield Value(who, "largest, MiB", size / 1024)


def _cost(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[int, int, int]:
    done = subprocess.run([TOY, "cost", *argv], env=environ, capture_output=True, text=True, check=True)
    wall, cpu, size = map(int, done.stdout.split())
    return wall, cpu, size


GROWTH = (13, 100, 500)
GROWTH_IDLE_SECONDS = 20


def growth(peers: Sequence[Peer]) -> Values:
    """With more services than anybody has; both at the same time, for most of it is waiting."""
    for count in GROWTH:
        grown = _at_once(lambda peer: _grown(peer, count))  # noqa: B023 - it is used at once
        for value in grown([peer for peer in peers if peer in (OURS, STOCK)]):
            yield replace(value, who=f"{value.who}, {count}")


def _grown(peer: Peer, count: int) -> Iterator[tuple[str, float | None]]:
    with Life(peer, services(count)) as life:
        yield "last service started, ms", life.started(within=120)[-1].at - life.executed
        time.sleep(SETTLED + count / 50)
        supervisors = life.supervisors()
        before = cpu_milliseconds(supervisors)
        time.sleep(GROWTH_IDLE_SECONDS)
        used = cpu_milliseconds(supervisors) - before
        yield "idle, % of a core", used / GROWTH_IDLE_SECONDS / 10
        yield "PSS, MiB", pss_mebibytes(supervisors)
        for service in life.services[:3]:
            yield "restart, ms", _maybe(lambda name=service.name: life.killed(name, within=20))  # type: ignore[misc]
            if peer is OURS:
                yield "in the status after, ms", _told(life, service.name)


def _told(life: Life, name: str) -> float:
    """Return the milliseconds from a replacement's first instruction until the status file names it."""
    came = life.notes("start", name)[-1]
    wanted = f'"pid": {came.first},'
    status = life.root / "run/maas-init/status.json"
    until(lambda: wanted in status.read_text())
    return now() - came.at


LINES = 200_000


def lines(peers: Sequence[Peer]) -> Values:
    """One service that prints much, and a reader that keeps up."""
    for peer in peers:
        if peer in (OURS, STOCK):
            wanted = services(COUNT)
            wanted[0] = replace(wanted[0], habits=(f"lines={LINES}",))
            with subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
                assert reader.stdin is not None
                assert reader.stdout is not None
                with Life(peer, wanted, output=reader.stdin.fileno()) as life:
                    life.started()
                    time.sleep(SETTLED)
                    supervisors = life.supervisors()
                    used = cpu_milliseconds(supervisors)
                    at = life.signal(signal.SIGUSR2, wanted[0].name)
                    took = (life.wait_for("written", within=120).at - at) / 1000
                    yield Value(peer.name, "lines/s", LINES / took)
                    yield Value(peer.name, "CPU, us/line", (cpu_milliseconds(supervisors) - used) * 1000 / LINES)
                    life.stopped(within=20)
                reader.stdin.close()
                yield Value(peer.name, "lines that arrived", float(reader.stdout.read()))


DUTIES = (
    Duty(
        "start",
        "From nothing to 13 services",
        "From the exec of process 1 to the first instruction of the first and of the last of 13 trivial services. "
        "With maas-init three Python programs start before the first service: process 1 and supervisord beside each "
        "other, then the listener.",
        _each(start),
    ),
    Duty(
        "crash",
        "A settled service is killed",
        "From kill -9 of a service that has run for four seconds and more to its replacement's first instruction; "
        "three services in each life. tini and dumb-init do not restart.",
        _each(crash),
    ),
    Duty(
        "crashes",
        "One service is killed again and again",
        "The same service is killed as soon as its replacement runs. `never`: not within 10 s. All peers at the "
        "same time, for most of it is waiting.",
        _at_once(crashes),
    ),
    Duty(
        "hung",
        "A service accepts connections and answers no more",
        "From the moment in which it hangs to its replacement's first instruction. maas-init and httpok as they come; "
        "tuned httpok asks every 5 s and waits 2 s. All others: never, for they do not ask. All at the same time.",
        _at_once(hung),
    ),
    Duty(
        "stop",
        "SIGTERM to process 1",
        "From SIGTERM to the exit of process 1, and how many services were told before they were gone. Who is fast "
        "and told none has left the services to the kernel's SIGKILL.",
        _each(stop),
    ),
    Duty(
        "stubborn",
        "SIGTERM, and one service ignores it",
        "The other twelve should not suffer from it, and all should be over before `docker stop` kills after 10 s. "
        "maas-init's service files say `stopwaitsecs = 3`, as the image's do; supervisord's default is 10 s. `never`: "
        "not all of them, or not within 30 s. All peers at the same time.",
        _at_once(stubborn),
    ),
    Duty(
        "orphans",
        "10,000 orphans",
        "A service leaves 10,000 dead grandchildren for process 1 to bury. From the last fork until none is left, the "
        "most there were at one time, what burying cost and what was printed about it. `never`: not within 20 s.",
        _each(orphans),
    ),
    Duty(
        "memory",
        "Memory",
        "Of everything that is not a service: proportional set size ten seconds after the start.",
        memory,
    ),
    Duty(
        "idle",
        "Doing nothing for a minute",
        "CPU and wake-ups of everything that is not a service. maas-init asks each of 13 services every 4 s, httpok "
        "one every minute, tuned httpok one every 5 s; the others none. All peers at the same time.",
        idle,
    ),
    Duty(
        "healthcheck",
        "The HEALTHCHECK command",
        "One run of each command, without the engine's own `docker exec`. pg_isready is Debian's, and asks a port "
        "that accepts and does not speak PostgreSQL.",
        healthcheck,
    ),
    Duty(
        "growth",
        "More services",
        "With 13, 100 and 500 services that nobody asks. `in the status after`: from a replacement's first "
        "instruction until the status file names its process, which takes at least one turn of the listener. Both at "
        "the same time.",
        growth,
    ),
    Duty(
        "lines",
        "200,000 log lines of one service",
        "As fast as it can write them, to a reader that keeps up. maas-init labels each line and also keeps it in a "
        "file; supervisord has `stdout_logfile = /dev/stdout`.",
        lines,
    ),
)
