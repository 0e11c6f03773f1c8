"""The one door to other programs: run to the end, read line by line, fail with a sentence.

Not for PID 1 after hand-over: there only `watch.reap` may wait for children.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import select
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping

from .errors import CommandFailed, Stalled

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

    `on_line` hears each line as it comes, and the beginning of one that the program has not finished yet. The program
    gets a session of its own: it cannot ask a terminal. It is killed when this process is: nothing must go on alone,
    beside what a successor starts. It may run for as long as it likes, but not print nothing for `silent_within`
    seconds.

    Raises CommandFailed with the command line, how it ended and its last lines; Stalled when it was silent.
    """
    given = _file_of(stdin)
    try:
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread runs yet
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    finally:
        os.close(given)
    lines = _Lines(on_line)
    with process:
        try:
            late = _follow(process, lines, silent_within)
        except BaseException:
            # Somebody ends us: what we started must not go on alone, beside the one our successor starts.
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if late:
            # The whole session: a helper that outlives the program would keep its output open, and us waiting.
            os.killpg(process.pid, signal.SIGKILL)
    if late:
        raise Stalled(_told(argv, late, lines.heard))
    if process.returncode != 0:
        raise CommandFailed(_told(argv, _ending(process.returncode), lines.heard))
    return "\n".join(lines.heard)


def _file_of(text: str) -> int:
    """Return an open file that holds `text` and has no name: no program can keep us waiting while we write to it."""
    descriptor = os.memfd_create("stdin")
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class _Lines:
    """What a program printed, put together from the pieces in which it comes."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._begun = ""
        self.heard: list[str] = []

    def hear(self, piece: bytes, *, last: bool = False) -> None:
        *whole, begun = (self._begun + self._decode(piece, last)).split("\n")
        for line in whole:
            self.heard.append(line)
            self._on_line(line)
        if last and begun:
            self.heard.append(begun)
        if begun and (whole or begun != self._begun):
            self._on_line(begun)
        self._begun = begun


def _follow(process: subprocess.Popen[bytes], lines: _Lines, silent_within: float) -> str:
    """Hear `process` to its end; return nothing, or how long it was waited for in vain."""
    assert process.stdout is not None
    silent_since = time.monotonic()
    while (left := silent_since + silent_within - time.monotonic()) > 0:
        ready, _, _ = select.select([process.stdout], [], [], left)
        piece = os.read(process.stdout.fileno(), 1 << 16) if ready else None
        if piece:
            silent_since = time.monotonic()
            lines.hear(piece)
        elif ready:
            lines.hear(b"", last=True)
            try:
                process.wait(left)
            except subprocess.TimeoutExpired:
                return "it closed its output and did not end"
            return ""
    return f"it printed nothing for {silent_within:g} s"


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ending(status: int) -> str:
    return f"it was killed by signal {-status}" if status < 0 else f"it exited with {status}"


def _told(argv: tuple[str, ...], end: str, lines: list[str]) -> str:
    return "\n    ".join([f"cannot finish {shlex.join(argv)}: {end}", *deque(lines, LINES_TOLD)])
