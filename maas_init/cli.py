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

from . import confine, signals
from .errors import ExitCode, MaasInitError
from .paths import PROGRAMS, Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code. (early.py is where the command begins.)"""
    arguments = (sys.argv[1:] if argv is None else list(argv)) or ["run"]
    where = Paths(Path(os.environ.get("MAAS_INIT_ROOT", "/")))
    confine.leave_no_core()
    try:
        # These must be quick: imports are made where they are used, and nothing is parsed that nobody gave.
        quick = {"run": _run, "listen": _listen, "discovery": _discovery}
        if len(arguments) == 1 and arguments[0] in quick:
            return quick[arguments[0]](where)
        from . import verbs

        verb, *rest = arguments
        if verb not in (*verbs.VERBS, "-h", "--help", "--version"):
            return _run_as_is(arguments)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # ● is not in every character set
        # Their options are systemd's.
        if verb == "systemctl":
            from . import systemctl

            return _quietly(lambda: systemctl.main(rest, where))
        if verb == "journalctl":
            from . import journalctl

            return _quietly(lambda: journalctl.main(rest, where))
        chosen = verbs.parser().parse_args(arguments)
        return _quietly(lambda: DO[verb](chosen, where)) if verb in FOR_PEOPLE else DO[verb](chosen, where)
    except MaasInitError as error:
        print(f"maas-init: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def _quietly(command: Callable[[], int]) -> int:
    """Return the command's exit code; Ctrl-C, and a reader that has seen enough, end it without a traceback."""
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # `systemctl status bind9 | head -1`; what is left must not fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code


def _service_files(*drop_ins: Path) -> tuple[Path, ...]:
    return Path(os.environ.get("MAAS_INIT_SERVICES", PROGRAMS / "supervisord.conf.d")), *drop_ins


def _run(where: Paths) -> int:
    from .life import live

    return live(os.environ, where, _service_files())


# For people.


def _status(chosen: argparse.Namespace, where: Paths) -> int:
    from . import report

    if chosen.json:
        return report.status_as_json(where)
    return report.watch(where) if chosen.watch else report.status(where)


def _why(chosen: argparse.Namespace, where: Paths) -> int:
    from . import report

    return report.why(where, chosen.service)


def _doctor(chosen: argparse.Namespace, where: Paths) -> int:
    from . import doctor

    if where.root == Path("/"):
        doctor.come_as_services_do(where)
    patient = doctor.Patient(where, os.environ, _service_files(where.drop_ins), may_ask_for_dhcp=chosen.dhcp)
    return doctor.main(patient, everything=chosen.all, as_json=chosen.json)


def _plan(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import preview

    return preview.main(where, os.environ, _service_files(where.drop_ins))


def _support_bundle(chosen: argparse.Namespace, where: Paths) -> int:
    from . import doctor, support

    if where.root == Path("/"):
        doctor.come_as_services_do(where)
    return support.main(doctor.Patient(where, os.environ, _service_files(where.drop_ins)), chosen.file)


def _ask_for_services(chosen: argparse.Namespace, where: Paths) -> int:
    from . import operate

    return operate.main(chosen.verb, chosen.service, where)


def _back_up(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import restore

    _become_maas(where)
    return restore.back_up(_given(where).region(), where)


def _restore(chosen: argparse.Namespace, where: Paths) -> int:
    from dataclasses import replace

    from . import restore

    _become_maas(where)
    if chosen.list or not chosen.backup:
        return restore.listing(where)
    settings = _given(where).region()
    return restore.restore(replace(settings, backup="off") if chosen.no_backup else settings, where, chosen.backup)


def _become_maas(where: Paths) -> None:
    from . import privileges

    if where.root != Path("/"):
        return
    # In a container that is made for this only, nobody runs MAAS and nobody has written the settings.
    if where.settings.exists():
        privileges.leave_root(where.run.stat().st_uid, where.run.stat().st_gid)
    else:
        asked = _given(where)
        privileges.leave_root(asked.uid, asked.gid)


def _given(where: Paths) -> Settings:
    """Return the settings of this container; in one that was made for a single command, nobody has written them."""
    from .settings import Settings

    return Settings.load(where.settings) if where.settings.exists() else Settings.from_environ(os.environ, where)


def _settings(_chosen: argparse.Namespace, _where: Paths) -> int:
    from . import reference

    print(reference.settings(), end="")
    return ExitCode.STOPPED


def _completion(chosen: argparse.Namespace, where: Paths) -> int:
    from . import completion

    print(completion.script(chosen.shell, _service_files(where.drop_ins)), end="")
    return ExitCode.STOPPED


# For supervisord.


def _bootstrap(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import bootstrap
    from .settings import Settings

    bootstrap.run(Settings.load(where.settings), where)
    return ExitCode.STOPPED


def _listen(where: Paths) -> int:
    # asyncio makes do without TLS, and would load it: a good part of the listener's start and size for nothing.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    from . import listen
    from .settings import Settings

    del sys.modules["ssl"]
    listen.run(Settings.load(where.settings), where, _service_files(where.taken_drop_ins))
    return ExitCode.STOPPED


def _discovery(where: Paths) -> int:
    from . import discovery

    discovery.serve(where)


def _ask_discovery(chosen: argparse.Namespace, where: Paths) -> int:
    from . import discovery

    discovery.ask(chosen.command, where)


def _postgresql(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import postgresql
    from .settings import Settings

    postgresql.serve(Settings.load(where.settings).region(), where)
    return ExitCode.STOPPED


def _temporal(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import temporal
    from .settings import Settings

    temporal.configure(Settings.load(where.settings).region().database, where)
    return ExitCode.STOPPED


def _tls(_chosen: argparse.Namespace, where: Paths) -> int:
    from . import tls
    from .settings import Settings

    tls.apply(Settings.load(where.settings).region(), where)
    return ExitCode.STOPPED


FOR_PEOPLE: dict[str, Callable[[argparse.Namespace, Paths], int]] = {
    "status": _status,
    "why": _why,
    "doctor": _doctor,
    "plan": _plan,
    "support-bundle": _support_bundle,
    **dict.fromkeys(("start", "stop", "restart"), _ask_for_services),
    "settings": _settings,
    "completion": _completion,
}
DO = {
    **FOR_PEOPLE,
    "run": lambda _chosen, where: _run(where),
    "backup": _back_up,
    "restore": _restore,
    "bootstrap": _bootstrap,
    "discovery": _ask_discovery,  # without a command it is one of the quick
    "listen": lambda _chosen, where: _listen(where),
    "postgresql": _postgresql,
    "temporal": _temporal,
    "tls": _tls,
}


def _run_as_is(argv: list[str]) -> int:
    signals.ignore_none()
    try:
        os.execvp(argv[0], argv)
    except (FileNotFoundError, ValueError):  # an empty command is a ValueError
        print(f"maas-init: cannot run {argv[0]}: there is no such command, nor such a verb", file=sys.stderr)
        return 127  # as a shell says it
    except OSError as error:
        print(f"maas-init: cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        return 126
