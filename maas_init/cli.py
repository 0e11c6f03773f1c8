"""The command line: `maas-init run` is process 1, the rest is for supervisord, for people and for the image.

Anything that is not a verb of ours is run as it is, so that `docker run IMAGE bash` gives a shell.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import ExitCode, MaasInitError
from .paths import PROGRAMS, Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

VERBS = {
    "run": "be the container's init: configure MAAS, start everything, stop everything (the default)",
    "bootstrap": "make database and configuration ready for MAAS (supervisord runs this)",
    "listen": "start, probe and heal the services (supervisord runs this)",
    "postgresql": "run the embedded database (supervisord runs this)",
    "tls": "hand the certificate for port 5443 to MAAS (supervisord runs this)",
    "status": "show how every service is; exit 0 when the container is healthy or degraded",
    "why": "explain the state of one service, or of the container, and how it ended before",
    "systemctl": "ask for services in systemd's words (the image's systemctl is this)",
    "journalctl": "show what services printed (the image's journalctl is this)",
    "backup": "save the database to a file in /var/lib/maas/backups",
    "restore": "make the database what it was when a backup was made; stops and starts what uses it",
    "settings": "list the environment variables that can be set",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code. (early.py is where the command begins.)"""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] not in (*VERBS, "-h", "--help", "--version"):
        return _run_as_is(arguments)
    where = Paths(Path(os.environ.get("MAAS_INIT_ROOT", "/")))
    try:
        # Their options are systemd's.
        if arguments[:1] == ["systemctl"]:
            from . import systemctl

            return _quietly(systemctl.main, arguments[1:], where)
        if arguments[:1] == ["journalctl"]:
            from . import journalctl

            return _quietly(journalctl.main, arguments[1:], where)
        if arguments in ([], ["run"], ["listen"]):
            # These must be quick; what reads options takes as long to load as they do.
            return _be((arguments or ["run"])[0], where)
        return _do(_parser().parse_args(arguments), where)
    except MaasInitError as error:
        print(f"maas-init: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def _quietly(command: Callable[[Sequence[str], Paths], int], arguments: Sequence[str], where: Paths) -> int:
    """Return the command's exit code; Ctrl-C, and a reader that has seen enough, end it without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ● is not in every character set
    try:
        code = command(arguments, where)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # `systemctl status bind9 | head -1`; what is left must not fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code


def _be(verb: str, where: Paths) -> int:
    """Be process 1, or something that supervisord runs."""
    # Imports are made where they are used: process 1 stays small.
    service_files = Path(os.environ.get("MAAS_INIT_SERVICES", PROGRAMS / "supervisord.conf.d"))
    if verb == "run":
        from .life import live

        return live(os.environ, where, service_files)
    from .settings import Settings

    settings = Settings.load(where.settings)
    if verb == "postgresql":
        from . import postgresql

        postgresql.serve(settings.region(), where)
    elif verb == "tls":
        from . import tls

        tls.apply(settings.region(), where)
    elif verb == "bootstrap":
        from . import bootstrap

        bootstrap.run(settings, where)
    else:
        # asyncio makes do without TLS, and would load it: a good part of the listener's start and size for nothing.
        sys.modules["ssl"] = None  # type: ignore[assignment]
        from . import listen

        del sys.modules["ssl"]
        listen.run(settings, where, service_files)
    return ExitCode.STOPPED


def _do(chosen: argparse.Namespace, where: Paths) -> int:
    """Do what a person asks for."""
    if chosen.verb == "settings":
        from . import reference

        print(reference.settings(), end="")
    elif chosen.verb in ("status", "why"):
        from . import report

        return report.status(where) if chosen.verb == "status" else report.why(where, chosen.service)
    elif chosen.verb in ("backup", "restore"):
        return _back_up_or_restore(chosen, where)
    else:
        return _be(chosen.verb, where)
    return ExitCode.STOPPED


def _back_up_or_restore(chosen: argparse.Namespace, where: Paths) -> int:
    from dataclasses import replace

    from . import privileges, restore
    from .settings import Settings

    if where.root == Path("/"):
        privileges.leave_root()
    if chosen.verb == "restore" and (chosen.list or not chosen.backup):
        return restore.listing(where)
    # In a container that is made for this only, nobody has written them.
    given = Settings.load(where.settings) if where.settings.exists() else Settings.from_environ(os.environ)
    settings = given.region()
    if chosen.verb == "backup":
        return restore.back_up(settings, where)
    if chosen.no_backup:
        settings = replace(settings, backup="off")
    return restore.restore(settings, where, chosen.backup)


def _parser() -> argparse.ArgumentParser:
    import argparse

    from . import __version__

    parser = argparse.ArgumentParser(
        prog="maas-init",
        description="Runs Canonical MAAS in one unprivileged container. Any other command is run as it is.",
    )
    parser.add_argument("--version", action="version", version=f"maas-init {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, meaning in VERBS.items():
        verb = verbs.add_parser(name, help=meaning, description=meaning)
        if name == "why":
            verb.add_argument("service", help="its name in `maas-init status`, or container")
        elif name == "restore":
            verb.add_argument("backup", nargs="?", help="its name or path, or: latest")
            verb.add_argument("--list", action="store_true", help="only show which backups there are")
            verb.add_argument("--no-backup", action="store_true", help="do not save first what is there now")
    return parser


def _run_as_is(argv: list[str]) -> int:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    try:
        os.execvp(argv[0], argv)
    except (FileNotFoundError, ValueError):  # an empty command is a ValueError
        print(f"maas-init: cannot run {argv[0]}: there is no such command, nor such a verb", file=sys.stderr)
        return 127  # as a shell says it
    except OSError as error:
        print(f"maas-init: cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        return 126
