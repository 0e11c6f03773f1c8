"""The one door to other programs: run to the end, read line by line, fail with a sentence.

Not for PID 1 after hand-over: there only `watch.reap` may wait for children.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping

from .errors import CommandFailed

LINES_TOLD = 12

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def run(
    *argv: str,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _line: None,
    silent_within: float = 600.0,
) -> str:
    """Run `argv` and return what it printed (standard error included).

    `on_line` hears each line as it comes. The program gets a session of its own: it cannot ask a terminal. It is killed
    when this process is: nothing must go on alone, beside what a successor starts. It may run for as long as it likes,
    and is killed when it prints nothing for `silent_within` seconds.

    Raises CommandFailed with the command line, how it ended and its last lines, also when it was silent for too long.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread runs yet
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    assert process.stdin is not None and process.stdout is not None
    # The whole session: a helper that outlives the program would keep its output open, and us waiting.
    overdue = _kill_in(silent_within, process.pid)
    lines: list[str] = []
    with process:
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended without reading; its exit status says more
        try:
            for line in process.stdout:
                if not overdue.finished.is_set():  # else these are its last words
                    overdue.cancel()
                    overdue = _kill_in(silent_within, process.pid)
                lines.append(line.rstrip("\n"))
                on_line(lines[-1])
        except BaseException:
            # Somebody ends us: what we started must not go on alone, beside the one our successor starts.
            os.killpg(process.pid, signal.SIGKILL)
            overdue.cancel()
            raise
    timed_out = overdue.finished.is_set()
    overdue.cancel()
    if process.returncode != 0:
        end = f"it printed nothing for {silent_within:g} s" if timed_out else _how_it_ended(process.returncode)
        raise CommandFailed("\n    ".join([f"cannot finish {shlex.join(argv)}: {end}", *deque(lines, LINES_TOLD)]))
    return "\n".join(lines)


def _kill_in(seconds: float, session: int) -> threading.Timer:
    timer = threading.Timer(seconds, os.killpg, (session, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    return timer


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _how_it_ended(status: int) -> str:
    return f"it was killed by signal {-status}" if status < 0 else f"it exited with {status}"
