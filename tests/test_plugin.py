"""Our part inside a real supervisord, with nothing else of ours around it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from harness import GENEROUS, PROGRAMS, until

from maas_init.health import Process
from maas_init.supervisor import ProcessInfo, Supervisor

pytestmark = pytest.mark.process

PLUGIN = """
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = maas_init.plugin:operators
[rpcinterface:maas_init]
supervisor.rpcinterface_factory = maas_init.plugin:make
"""

STOCK = """
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


class Supervisord:
    """A real supervisord below a directory of its own."""

    def __init__(self, programs: str, plugin: str = PLUGIN, environ: Mapping[str, str] | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
        self.log = self.root / "log"
        (self.root / "conf").write_text(
            dedent(
                f"""\
                [unix_http_server]
                file = {self.root}/sock
                [supervisord]
                nodaemon = true
                logfile = {self.log}
                pidfile = {self.root}/pid
                childlogdir = {self.root}
                [supervisorctl]
                serverurl = unix://{self.root}/sock
                """
            )
            + plugin
            + dedent(programs)
        )
        self.rpc = Supervisor(self.root / "sock")
        self.process = subprocess.Popen(
            [PROGRAMS / "supervisord", "-c", self.root / "conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | dict(environ or {}),
        )

    def info(self, name: str) -> ProcessInfo:
        return asyncio.run(self.rpc.processes())[name]

    def running(self, name: str) -> int:
        """Return the process id of a program that runs, or 0."""
        info = self.info(name)
        return info.pid if info.process is Process.RUNNING else 0

    def supervisorctl(self, *argv: str) -> None:
        subprocess.run([PROGRAMS / "supervisorctl", "-c", self.root / "conf", *argv], capture_output=True, check=True)

    def reload(self) -> None:
        """Let it read its configuration anew and start everything again."""
        before = self.log.read_text().count("supervisord started with pid")
        os.kill(self.process.pid, signal.SIGHUP)
        until(lambda: self.log.read_text().count("supervisord started with pid") > before)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(GENEROUS)
        finally:
            self.process.kill()
            self.process.wait()
            print(self.log.read_text())
            shutil.rmtree(self.root)


def program(name: str, command: str, **keys: Any) -> str:
    lines = {"command": command, "startsecs": 0, "autorestart": "true"} | keys
    return f"\n[program:{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[Supervisord]:
    """A supervisord with the programs that the test gives as its parameter."""
    mine = Supervisord(request.param)
    until((mine.root / "sock").exists)
    yield mine
    mine.close()


@pytest.fixture
def stock() -> Iterator[Supervisord]:
    """The same without our part."""
    mine = Supervisord(SLEEPER, plugin=STOCK)
    yield mine
    mine.close()


def seconds_for(deaths: int, supervisord: Supervisord) -> float:
    """Return how long it takes until so many deaths in a row were noticed and made good, while nobody asks."""

    def spawned() -> list[int]:
        lines = supervisord.log.read_text().splitlines() if supervisord.log.exists() else []
        return [int(line.split()[-1]) for line in lines if "spawned: 'sleeper' with pid" in line]

    until(spawned)
    began = time.monotonic()
    for _ in range(deaths):
        before = spawned()
        os.kill(before[-1], signal.SIGKILL)
        until(lambda before=before: len(spawned()) > len(before))  # type: ignore[misc]
    return time.monotonic() - began


SLEEPER = program("sleeper", "/bin/sleep 1000")
ONE = pytest.mark.parametrize("started", [SLEEPER], indirect=True, ids=["one program"])


@ONE
def test_death_is_noticed_much_sooner_than_by_stock_supervisord(started: Supervisord, stock: Supervisord) -> None:
    """Stock supervisord sleeps up to a second: on whatever machine, five deaths here take less than three there."""
    assert seconds_for(5, started) < seconds_for(3, stock)


DYING = program("dying", "/bin/sh -c 'echo once >> %(here)s/tries; exit 3'", startsecs=1, startretries=0)
ABSENT = program("absent", "/nonexistent/daemon", startretries=0)


@pytest.mark.parametrize("started", [DYING], indirect=True)
def test_what_dies_at_once_is_tried_ever_later_and_never_given_up(started: Supervisord) -> None:
    tries = started.root / "tries"
    until(lambda: tries.exists() and tries.read_text().count("once") >= 8)
    until(lambda: started.info("dying").process is Process.BACKOFF)
    ending = started.info("dying").ending
    assert ending
    assert (ending.code, ending.wished) == (3, False)
    assert ending.again_in > 0.3
    log = started.log.read_text()
    assert "FATAL" not in log
    assert "gave up" not in log


@pytest.mark.parametrize("started", [ABSENT], indirect=True)
def test_what_cannot_be_started_is_tried_again_too(started: Supervisord) -> None:
    until(lambda: started.log.read_text().count("spawnerr: can't find command '/nonexistent/daemon'") >= 3)
    info = started.info("absent")
    assert info.process is Process.BACKOFF
    assert info.ending
    assert info.ending.how == "could not be started: can't find command '/nonexistent/daemon'"


MENDED = program("mended", "/bin/sh -c 'test -e %(here)s/mended && exec sleep 1000'")


@pytest.mark.parametrize("started", [MENDED], indirect=True)
def test_who_asks_for_what_waits_for_its_next_try_gets_it_at_once(started: Supervisord) -> None:
    def far_away() -> bool:
        info = started.info("mended")
        return info.process is Process.BACKOFF and bool(info.ending and info.ending.again_in > 10)

    until(far_away)
    (started.root / "mended").touch()
    started.supervisorctl("start", "mended")
    assert started.running("mended")


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says how far the time of day is off (libfaketime)."""
    file = tmp_path / "clock"
    file.write_text("+0")
    return file


def in_another_time(clock: Path) -> dict[str, str]:
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.parametrize("steps", [("+1d", "+0"), ("-1d", "+0")], ids=["ahead and back", "back and ahead"])
def test_clock_that_is_set_by_a_day_does_no_harm(clock: Path, steps: tuple[str, str]) -> None:
    box = Supervisord(SLEEPER + DYING, environ=in_another_time(clock))
    try:
        until((box.root / "sock").exists)
        (tries := box.root / "tries").touch()  # the first try may still be to come
        for step in steps:
            before = until(lambda: box.running("sleeper"))
            clock.write_text(step)
            tried = tries.read_text().count("once")
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: box.running("sleeper") not in (0, before))  # type: ignore[misc]
            until(lambda tried=tried: tries.read_text().count("once") > tried)  # type: ignore[misc]
            assert box.info("dying").process in (Process.BACKOFF, Process.STARTING)
        asyncio.run(box.rpc.stop("sleeper", time.monotonic()))
        until(lambda: box.info("sleeper").process is Process.STOPPED)
    finally:
        box.close()


@ONE
def test_suspended_process_hears_that_it_shall_stop(started: Supervisord) -> None:
    pid = until(lambda: started.running("sleeper"))
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    os.kill(pid, signal.SIGSTOP)
    assert asyncio.run(started.rpc.stop("sleeper", time.monotonic()))
    until(lambda: started.info("sleeper").process is Process.STOPPED)
    assert "stopped: sleeper (terminated by SIGTERM)" in started.log.read_text()


@ONE
def test_request_to_end_is_heard_at_once_and_obeyed(started: Supervisord) -> None:
    pid = until(lambda: started.running("sleeper"))
    # Before the new process has become the program, supervisord's own handler in it would swallow the signal.
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    os.kill(started.process.pid, signal.SIGTERM)
    assert started.process.wait(GENEROUS) == 0
    assert "stopped: sleeper (terminated by SIGTERM)" in started.log.read_text()


@ONE
def test_signals_that_come_together_are_all_handled(started: Supervisord) -> None:
    pid = until(lambda: started.running("sleeper"))
    supervisord = started.process.pid
    os.kill(supervisord, signal.SIGSTOP)
    for number, target in ((signal.SIGUSR2, supervisord), (signal.SIGKILL, pid)):
        os.kill(target, number)
    os.kill(supervisord, signal.SIGCONT)
    until(lambda: started.running("sleeper") not in (0, pid))
    until(lambda: "reopened" in started.log.read_text() or "SIGUSR2" in started.log.read_text())
    os.kill(supervisord, signal.SIGSTOP)
    for number in (signal.SIGUSR2, signal.SIGTERM):
        os.kill(supervisord, number)
    os.kill(supervisord, signal.SIGCONT)
    assert started.process.wait(GENEROUS) == 0


@ONE
def test_storm_of_signals_does_no_harm(started: Supervisord) -> None:
    until(lambda: started.running("sleeper"))
    for _ in range(5000):
        os.kill(started.process.pid, signal.SIGCHLD)
    pid = until(lambda: started.running("sleeper"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: started.running("sleeper") not in (0, pid))


@ONE
def test_reload_leaves_it_awake_and_leaks_nothing(started: Supervisord) -> None:
    until(lambda: started.running("sleeper"))
    started.reload()
    until(lambda: started.running("sleeper"))
    before = started.descriptors()
    started.reload()
    until(lambda: started.running("sleeper"))
    until(lambda: started.descriptors() <= before)
    pid = started.running("sleeper")
    os.kill(pid, signal.SIGKILL)
    until(lambda: started.running("sleeper") not in (0, pid))
    assert "Traceback" not in started.log.read_text()


MANY = program("many", "/bin/sleep 1000", numprocs=150, process_name="many%(process_num)03d")


@pytest.mark.parametrize("started", [MANY], indirect=True, ids=["150 programs"])
def test_more_deaths_at_once_than_supervisord_counts_are_all_noticed(started: Supervisord) -> None:
    """It stops at a hundred dead a turn: the rest must not wait for the next accident."""

    def running() -> set[tuple[str, int]]:
        every = asyncio.run(started.rpc.processes()).items()
        found = {(name, info.pid) for name, info in every if info.process is Process.RUNNING}
        return found if len(found) == 150 else set()

    before = until(running)
    os.kill(started.process.pid, signal.SIGSTOP)
    for _, pid in before:
        os.kill(pid, signal.SIGKILL)
    os.kill(started.process.pid, signal.SIGCONT)
    # A number may come again, but hardly for the same program.
    until(lambda: (now := running()) and not now & before)


SECRET_KEEPER = program("keeper", "/bin/sh -c 'ls /proc/self/fd > %(here)s/fds; exec sleep 1000'")


@pytest.mark.parametrize("started", [SECRET_KEEPER], indirect=True, ids=["one that looks"])
def test_children_do_not_inherit_the_pipe(started: Supervisord) -> None:
    until(lambda: started.running("keeper"))
    told = started.root / "fds"
    until(lambda: told.exists() and told.read_text())
    # Standard input, output, error, and the directory that ls reads.
    assert told.read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("started", [program("sleeper", "/bin/sleep 1000", stopwaitsecs=1000)], indirect=True)
def test_stop_in_the_moment_of_the_start_is_not_lost(started: Supervisord) -> None:
    for _ in range(100):
        asyncio.run(started.rpc.start({"sleeper": time.monotonic()}))
        asyncio.run(started.rpc.stop("sleeper", time.monotonic()))
        until(lambda: started.info("sleeper").process is Process.STOPPED)


@ONE
def test_listener_s_older_wish_gives_way_to_what_an_operator_asked(started: Supervisord) -> None:
    until(lambda: started.running("sleeper"))
    before = time.monotonic()
    started.supervisorctl("stop", "sleeper")
    asked = started.info("sleeper").asked
    assert asked
    assert not asked.on
    assert asked.moment > before
    asyncio.run(started.rpc.start({"sleeper": before}))
    assert started.info("sleeper").process is Process.STOPPED
    started.supervisorctl("start", "all")
    assert not asyncio.run(started.rpc.stop("sleeper", before))
    assert started.running("sleeper")
    assert asyncio.run(started.rpc.stop("sleeper", time.monotonic()))
    until(lambda: started.info("sleeper").process is Process.STOPPED)
    asyncio.run(started.rpc.start({"sleeper": time.monotonic()}))
    assert started.running("sleeper")


LEAVING = program("leaving", "/bin/sh -c '/bin/sleep 1000 & wait'")


@pytest.mark.parametrize("started", [LEAVING], indirect=True)
def test_what_a_dead_service_leaves_is_ended(started: Supervisord) -> None:
    def members(group: int) -> list[int]:
        pids = [int(directory.name) for directory in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if group_of(pid) == group]

    before = until(lambda: started.running("leaving"))
    until(lambda: len(members(before)) == 2)
    os.kill(before, signal.SIGKILL)
    until(lambda: started.running("leaving") not in (0, before))
    until(lambda: not members(before))


def group_of(pid: int) -> int:
    """Return a process's group; 0 when it has gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


# Secrets.


def test_no_secret_is_kept_however_it_is_printed(tmp_path: Path) -> None:
    """Also one that is cut by the pipe, and one that nobody knew when supervisord began."""
    masks, shared, log = tmp_path / "masks.json", tmp_path / "secret", tmp_path / "speaker.log"
    masks.write_text('["p@ss word"]')
    speaker = tmp_path / "speaker"
    speaker.write_text(
        dedent(
            """\
            import pathlib, sys, time
            say = lambda text: print(text, end="", flush=True)
            say("plain p@ss word.\\n")
            say("postgresql://maas:p%40ss%20word@db/maasdb\\n")
            say("half p@ss"); time.sleep(0.05); say(" word, whole\\n")
            say("Traceback (most recent call last):\\n  password='p@ss word'\\nValueError: p@ss word\\n")
            pathlib.Path(sys.argv[1]).write_text("ab" * 16)
            while True:
                say("shared " + "ab" * 16 + "\\n"); time.sleep(0.1)
            """
        )
    )
    plugin = PLUGIN + f"masks = {masks}\nshared_secret = {shared}\n"
    programs = f"[program:speaker]\ncommand = {sys.executable} {speaker} {shared}\nstdout_logfile = {log}\n"
    daemon = Supervisord(programs, plugin)
    try:
        until(lambda: log.exists() and "shared ********" in log.read_text())
        text = log.read_text()
    finally:
        daemon.close()
    assert "p@ss" not in text
    assert "p%40ss" not in text
    for line in ("plain ********.", "postgresql://maas:********@db", "half ********, whole", "ValueError: ********"):
        assert line in text
