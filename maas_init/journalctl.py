"""systemd's command for logs, answered from the services' own files."""

from __future__ import annotations

import contextlib
import getopt
import os
import re
import sys
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import loglines, logs, statusfile
from .errors import MaasInitError
from .loglines import Record
from .paths import Paths

LOOK_EVERY = 0.2
"""Seconds between two looks for new lines with --follow."""

SHORT = "u:fn:o:p:rabelqx"
LONG = (
    *("unit=", "follow", "lines=", "output=", "priority=", "reverse", "no-pager", "no-hostname", "no-tail", "all"),
    *("boot", "catalog", "full", "pager-end", "quiet", "system", "utc", "help"),
)
IN_FULL = {
    "-u": "--unit", "-f": "--follow", "-n": "--lines", "-o": "--output", "-p": "--priority", "-r": "--reverse",
}  # fmt: skip

PRIORITIES = {
    "critical": ("0", "1", "2", "emerg", "alert", "crit"),
    "error": ("3", "err"),
    "warning": ("4", "warning"),
    "info": ("5", "6", "notice", "info"),
    "debug": ("7", "debug"),
}
"""Our levels, from the worst, and what systemd calls them."""

USAGE = """\
usage: maas-init journalctl [-u UNIT]... [-f] [-n LINES|all] [-r] [-p PRIORITY] [-o short|short-iso|cat|json]

Shows what services printed. A unit is a service under its name in `maas-init status`, or that of its systemd unit.
Options about pagers, boots and catalogues change nothing.
"""


def main(argv: Sequence[str], where: Paths) -> int:
    """Do what journalctl would do; return its exit code. Raises MaasInitError for what cannot be understood."""
    try:
        given, words = getopt.gnu_getopt(_with_counts(argv), SHORT, list(LONG))
    except getopt.GetoptError as error:
        raise MaasInitError(f"cannot understand the command: {error}", hint="see journalctl --help") from None
    if words:
        raise MaasInitError(f'cannot select by "{words[0]}"', hint="select with -u UNIT and -p PRIORITY")
    asked = [name for option, name in given if option in ("-u", "--unit")]
    options = {IN_FULL.get(option, option): value for option, value in given}
    if "--help" in options:
        sys.stdout.write(USAGE)
        return 0
    _show(_services(asked, where), options, where)
    return 0


def _with_counts(argv: Sequence[str]) -> list[str]:
    """Return the command line with -n 10 where -n stands alone, as systemd takes it."""
    found = []
    for word, after in zip(argv, (*argv[1:], ""), strict=True):
        alone = word in ("-n", "--lines") and (not after or bool(re.match("-[^0-9]", after)))
        found += [word, "10"] if alone else [word]
    return found


def _show(services: tuple[str, ...], options: dict[str, str], where: Paths) -> None:
    write = _writer(options.get("--output", "short"))
    wanted = _levels(options.get("--priority", "debug"))
    following = "--follow" in options
    count = _count(options.get("--lines", "10" if following else "all"))
    with contextlib.closing(logs.Follower(where, services, count)) as follower:
        told = [record for record in follower.history if record.level in wanted]
        for record in reversed(told) if "--reverse" in options else told:
            write(record)
        if not told and not following:
            sys.stdout.write("-- No entries --\n")
        while following:
            for record in follower.new():
                if record.level in wanted:
                    write(record)
            sys.stdout.flush()
            time.sleep(LOOK_EVERY)


def _services(asked: Iterable[str], where: Paths) -> tuple[str, ...]:
    """Return the services meant; every one that has a file when none is named."""
    known = logs.names(where)
    if not asked:
        return known
    there = statusfile.services(where)
    by_unit = {facts["unit"]: name for name, facts in there.items() if facts["unit"]}
    found = []
    for name in asked:
        bare = name.removesuffix(".service")
        service = by_unit.get(bare, bare)
        if service not in known and service not in there:
            raise MaasInitError(f'cannot show "{name}": there is no such service', hint=", ".join(known))
        found.append(service)
    return tuple(dict.fromkeys(found))


def _count(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit():
        raise MaasInitError(f'cannot show "{text}" lines', hint="give a number or all")
    return int(text)


def _levels(priority: str) -> set[str]:
    levels = list(PRIORITIES)
    for position, words in enumerate(PRIORITIES.values()):
        if priority in words:
            return set(levels[: position + 1])
    raise MaasInitError(f'cannot select the priority "{priority}"', hint="give emerg, err, warning, info or debug")


def _writer(form: str) -> Callable[[Record], Any]:
    host = os.uname().nodename

    def local(record: Record, shape: str) -> str:
        seconds = timegm(time.strptime(record.time[:19], "%Y-%m-%dT%H:%M:%S"))
        return time.strftime(shape, time.localtime(seconds))

    forms: dict[str, Callable[[Record], str]] = {
        "short": lambda record: f"{local(record, '%b %d %H:%M:%S')} {host} {record.service}: {record.message}\n",
        "short-iso": lambda record: (
            f"{local(record, '%Y-%m-%dT%H:%M:%S%z')} {host} {record.service}: {record.message}\n"
        ),
        "cat": lambda record: f"{record.message}\n",
        "json": lambda record: loglines.render(record, "json"),
    }
    if form not in forms:
        raise MaasInitError(f'cannot write in the form "{form}"', hint=f"give one of {', '.join(forms)}")
    return lambda record: sys.stdout.write(forms[form](record))
