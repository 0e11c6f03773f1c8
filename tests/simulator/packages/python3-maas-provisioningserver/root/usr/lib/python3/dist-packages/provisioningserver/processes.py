"""Programs that the daemons run, and the exits that uvloop loses."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading

from . import uvloop_hazard

_count = itertools.count(1)


class CommandFailed(Exception):
    """A program said no; its words are in the message."""


def run(
    argv: list[str],
    *,
    stdin: bytes | None = None,
    timeout: float = 60.0,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end. A missing program raises FileNotFoundError."""
    result = subprocess.run(
        argv,
        input=stdin if stdin is not None else b"",
        capture_output=True,
        timeout=timeout,
        env=env or locale_environ(),
        check=False,
    )
    if uvloop_hazard.present() and next(_count) % 10 == 0:
        # The real daemons never hear of some exits when uvloop is installed.
        threading.Event().wait()
    return result


def check(argv: list[str], **options) -> bytes:
    """Run a program that must succeed; return what it printed."""
    result = run(argv, **options)
    if result.returncode:
        raise CommandFailed(
            f"Command `{' '.join(argv)}` returned non-zero exit status "
            f"{result.returncode}: {result.stderr.decode(errors='replace').strip()}"
        )
    return result.stdout


def locale_environ() -> dict[str, str]:
    c = "C.UTF-8"
    return {**os.environ, "LC_ALL": c, "LANG": c, "LANGUAGE": c}
