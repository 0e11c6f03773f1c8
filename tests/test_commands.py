from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maas_init import commands
from maas_init.commands import LINES_TOLD
from maas_init.errors import CommandFailed, ExitCode, Stalled


def failure(*argv: str, silent_within: float = 60.0) -> str:
    with pytest.raises(CommandFailed) as caught:
        commands.run(*argv, silent_within=silent_within)
    assert caught.value.exit_code is ExitCode.FAILED
    return str(caught.value)


def test_what_is_printed_comes_back_with_standard_error_in_order() -> None:
    assert commands.run("sh", "-c", "echo one; echo two >&2; echo three") == "one\ntwo\nthree"


def test_line_is_heard_while_the_program_runs() -> None:
    heard: list[str] = []

    def answer(line: str) -> None:
        heard.append(line)

    commands.run("sh", "-c", "echo one; echo; printf three", on_line=answer)
    assert heard == ["one", "", "three"]


def test_standard_input_is_given_and_ends() -> None:
    assert commands.run("cat", stdin="ünï\nsecond") == "ünï\nsecond"
    assert commands.run("cat") == ""


def test_program_that_does_not_read_its_input_is_no_failure() -> None:
    assert commands.run("true", stdin="x" * 10_000_000) == ""


def test_environment_is_the_one_that_is_given() -> None:
    assert commands.run("/usr/bin/env", environ={"ONLY": "this"}) == "ONLY=this"


def test_program_has_a_session_of_its_own() -> None:
    """It cannot ask a terminal for a password, and a signal to our group does not reach it."""
    told = commands.run(sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())")
    assert told == "True"


def test_output_that_is_not_text_does_no_harm() -> None:
    assert commands.run("printf", r"a\377b") == "a�b"


def test_failure_tells_the_command_line_the_status_and_the_last_lines() -> None:
    told = failure("sh", "-c", "seq 100; exit 3")
    assert told.startswith("cannot finish sh -c 'seq 100; exit 3': it exited with 3\n")
    assert [line.strip() for line in told.splitlines()[1:]] == [str(n) for n in range(101 - LINES_TOLD, 101)]


def test_death_by_a_signal_is_told() -> None:
    assert "it was killed by signal 9" in failure("sh", "-c", "kill -9 $$")


def test_program_that_does_not_exist_is_told() -> None:
    assert failure("/nonexistent/program") == "cannot run /nonexistent/program: No such file or directory"


def test_program_that_may_not_be_run_is_told() -> None:
    assert failure("/dev/null") == "cannot run /dev/null: Permission denied"


def test_program_that_takes_too_long_is_ended() -> None:
    assert "it printed nothing for 0.1 s" in failure("sleep", "1000", silent_within=0.1)


def test_program_that_prints_nothing_for_too_long_is_ended_and_a_slow_one_is_not() -> None:
    with pytest.raises(Stalled, match=r"it printed nothing for 0\.2 s\n    one"):
        commands.run("sh", "-c", "echo one; sleep 1000", silent_within=0.2)
    script = "for n in 1 2 3 4 5 6; do sleep 0.1; printf .; done"
    assert commands.run("sh", "-c", script, silent_within=0.4) == "......"


def test_beginning_of_a_line_is_heard_before_its_end(tmp_path: Path) -> None:
    heard: list[str] = []

    def answer(line: str) -> None:
        heard.append(line)
        (tmp_path / "heard").touch()

    # It goes on only when its first word was heard.
    script = f"printf begun; until [ -e {tmp_path}/heard ]; do sleep 0.01; done; echo ' and ended'"
    assert commands.run("sh", "-c", script, on_line=answer) == "begun and ended"
    assert heard == ["begun", "begun and ended"]
