"""What services print, through a real supervisord: kept in files, labelled in the container's log, blocking nobody."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from harness import GENEROUS, PROGRAMS, until

from maas_init import loglines, output
from maas_init.health import Process
from maas_init.loglines import Record
from maas_init.supervisor import Supervisor

pytestmark = pytest.mark.process


class Supervisord:
    """A real supervisord whose output nobody reads before `read` is called."""

    def __init__(self, root: Path, form: str, **programs: str) -> None:
        self.root = root
        shown = "".join(
            f"[program:{name}]\ncommand = {command}\nautostart = false\nstartsecs = 0\nautorestart = false\n"
            f"redirect_stderr = true\nstdout_logfile = {root}/{name}.log\n"
            "stdout_logfile_maxbytes = 100KB\nstdout_logfile_backups = 1\n"
            for name, command in programs.items()
        )
        (root / "conf").write_text(
            dedent(
                f"""\
                [unix_http_server]
                file = {root}/sock
                [supervisord]
                nodaemon = true
                silent = true
                logfile = {root}/supervisord.log
                pidfile = {root}/pid
                [rpcinterface:supervisor]
                supervisor.rpcinterface_factory = maas_init.plugin:operators
                [rpcinterface:maas_init]
                supervisor.rpcinterface_factory = maas_init.plugin:make
                log_format = {form}
                [supervisorctl]
                serverurl = unix://{root}/sock
                """
            )
            + shown
        )
        self.rpc = Supervisor(root / "sock")
        self.process = subprocess.Popen(
            [PROGRAMS / "supervisord", "-c", root / "conf"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until((root / "sock").exists)

    def run(self, name: str) -> None:
        """Start a program and wait for its end."""
        asyncio.run(self.rpc.start({name: time.monotonic()}))
        until(lambda: asyncio.run(self.rpc.processes())[name].process is Process.EXITED)

    def end(self) -> str:
        """Stop supervisord; return everything it printed."""
        self.process.terminate()
        printed, complaints = self.process.communicate(timeout=GENEROUS)
        assert not complaints
        return printed.decode()

    def supervisorctl(self, *argv: str) -> str:
        command = [str(PROGRAMS / "supervisorctl"), "-c", str(self.root / "conf"), *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


Start = Callable[..., Supervisord]


@pytest.fixture
def start() -> Iterator[Start]:
    root = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
    made: list[Supervisord] = []

    def make(form: str = "console", **programs: str) -> Supervisord:
        made.append(Supervisord(root, form, **programs))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        with each.process:
            """Wait for it and close its pipes."""
    shutil.rmtree(root)


def records(text: str) -> list[Record]:
    parsed = [loglines.parse(line) for line in text.split("\n")[:-1]]
    assert all(parsed), text
    return [each for each in parsed if each]


def python(text: str) -> str:
    # supervisord reads % in a command as its own.
    return f'{sys.executable} -S -E -c "{text}"'.replace("%", "%%")


def test_lines_are_labelled_once_and_kept_in_the_service_s_own_file(start: Start) -> None:
    supervisord = start(one="/bin/echo LOG: first", two="/bin/sh -c 'echo second; echo half >&2'")
    supervisord.run("one")
    supervisord.run("two")
    assert "first" in supervisord.supervisorctl("tail", "one"), "supervisorctl finds the file"
    told = records(supervisord.end())
    assert [(each.level, each.message) for each in told if each.service == "one"] == [("info", "first")]
    assert [each.message for each in told if each.service == "two"] == ["second", "half"]
    kept = records((supervisord.root / "two.log").read_text())
    assert [each.message for each in kept] == ["second", "half"]
    assert [each.time for each in kept] == [each.time for each in told if each.service == "two"]


def test_supervisord_s_own_words_are_labelled_too(start: Start) -> None:
    supervisord = start(one="/bin/true", lost="/does/not/exist")
    supervisord.run("one")
    told = [each for each in records(supervisord.end()) if each.service == "supervisord"]
    assert any("spawned: 'one'" in each.message for each in told)
    assert not any("authentication" in each.message for each in told), "its socket is for one user"


def test_json_is_one_object_for_each_record(start: Start) -> None:
    supervisord = start("json", one="/bin/sh -c 'printf \"Traceback (most recent call last):\\n  x\\nE: y\\nbye\\n\"'")
    supervisord.run("one")
    told = [json.loads(line) for line in supervisord.end().splitlines()]
    assert [(each["level"], each["message"]) for each in told if each["service"] == "one"] == [
        ("error", "Traceback (most recent call last):\n  x\nE: y"),
        ("info", "bye"),
    ]


def test_traceback_is_not_mixed_with_what_others_print(start: Start) -> None:
    failing = "import sys, time; [(print(f'{i}'), sys.stdout.flush()) for i in range(0)]; 1/0"
    supervisord = start(bad=python(failing), chatty=python("for i in range(20000): print(i, flush=True)"))
    asyncio.run(supervisord.rpc.start({"chatty": time.monotonic()}))
    for _ in range(3):
        supervisord.run("bad")
    asyncio.run(supervisord.rpc.stop("chatty", time.monotonic()))
    told = records(supervisord.end())
    starts = [position for position, each in enumerate(told) if each.message.startswith("Traceback")]
    assert len(starts) == 3
    for position in starts:
        following = told[position : position + 3]
        assert {(each.service, each.level) for each in following} == {("bad", "error")}


def test_flood_while_nobody_reads_harms_no_service_and_is_counted(start: Start) -> None:
    flood = python("for i in range(200000): print('line', i)")
    supervisord = start(flood=flood, other="/bin/echo still here")
    supervisord.run("flood")
    supervisord.run("other")
    assert "still here" in (supervisord.root / "other.log").read_text()
    sizes = [(supervisord.root / name).stat().st_size for name in ("flood.log", "flood.log.1")]
    assert sum(sizes) < 1 << 20, "files are rotated"
    supervisord.process.terminate()
    assert supervisord.process.stdout is not None
    told = records(supervisord.process.stdout.read().decode())
    shown = [each.message for each in told if each.service == "flood"]
    assert shown == [f"line {number}" for number in range(len(shown))], "what is shown is whole and in order"
    assert 1000 < len(shown) < 200000
    (note,) = [each for each in told if each.message.startswith("log.dropped")]
    dropped = int(note.message.split("records=")[1].split()[0])
    assert len(told) - 1 + dropped >= 200000


def test_container_log_that_nobody_holds_any_more_ends_nothing(start: Start) -> None:
    supervisord = start(one="/bin/echo hello")
    assert supervisord.process.stdout is not None
    supervisord.process.stdout.close()
    supervisord.run("one")
    assert "hello" in (supervisord.root / "one.log").read_text()


def test_service_runs_without_a_file_when_it_cannot_be_kept(start: Start) -> None:
    supervisord = start(one="/bin/echo hello")
    (supervisord.root / "one.log").mkdir()
    supervisord.run("one")
    told = [each for each in records(supervisord.end()) if each.service == "one"]
    assert [each.level for each in told] == ["warning", "info"]
    assert "log.not_kept" in told[0].message
    assert told[1].message == "hello"


def test_console_writes_nothing_that_would_make_it_wait() -> None:
    reading, writing = os.pipe()
    console = output.Console(writing, "console")
    record = Record(loglines.now(), "info", "any", "x" * 10000)
    began = time.monotonic()
    for _ in range(1000):
        console.say(record)
    assert console.writable()
    text = b""
    while console.writable():
        text += os.read(reading, 65536)
        console.handle_write_event()
    os.close(writing)
    while more := os.read(reading, 65536):
        text += more
    os.close(reading)
    assert time.monotonic() - began < GENEROUS
    told = records(text.decode())
    assert told[-1].message.startswith("log.dropped")
    assert {each.message for each in told[:-1]} == {"x" * 10000}
