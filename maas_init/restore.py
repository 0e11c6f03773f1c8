"""Backup and restore, as people ask for them: in the running container, or in one that is made for the purpose.

In the running one, what of MAAS uses the database is stopped first and started afterwards. In the other there is no
supervisord; if the database is the embedded one, its server runs as long as it is needed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from . import backups, bootstrap, postgresql, statusfile, systemctl
from .bootstrap import journal, reach, region, saved, schema
from .bootstrap.work import tell
from .database import APPLICATION, Connection
from .errors import ExitCode, MaasInitError
from .paths import Paths
from .settings import RegionSettings

USERS = ("regiond", "apiserver", "temporal-worker", "temporal")
"""What of MAAS uses the database, each before what it needs. The rack controller goes on, and so does DHCP."""

SESSIONS_GONE_WITHIN = 20.0
"""Seconds that the server may take to notice that a client has ended."""

SESSIONS = """
SELECT coalesce(nullif(application_name, ''), usename), coalesce(host(client_addr), 'a local socket')
FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
AND coalesce(application_name, '') NOT LIKE %s || '%%'
"""
"""Who else uses the database; ours only look at it."""


def back_up(settings: RegionSettings, paths: Paths) -> int:
    """Save the database now and print where. Raises MaasInitError when that cannot be done."""
    with _server(settings, paths), reach.database(settings, paths) as connection:
        label = f"{journal.read(paths).get('version', 'unknown')}-{backups.MANUAL}"
        made = backups.save(settings, connection, paths, label, saved.Advance(paths, "backing up the database"))
        tell(paths, "done", "done")
    print(made)
    return ExitCode.STOPPED


def listing(paths: Paths) -> int:
    """Print every backup with its size, the newest last."""
    for backup in backups.found(paths):
        print(f"{backup.name}  {backup.stat().st_size / 1e6:.1f} MB")
    return ExitCode.STOPPED


def restore(settings: RegionSettings, paths: Paths, wanted: str) -> int:
    """Make the database what it was when the backup was made, and MAAS run with it.

    What the database holds now is saved first. Until everything is restored nothing is changed.

    Raises MaasInitError when somebody else uses the database, or anything fails.
    """
    backup = backups.choose(paths, wanted)
    with _server(settings, paths):
        stopped = _stop_users(paths)
        try:
            with reach.database(settings, paths) as connection:
                _claim(connection)
                saved.make(settings, connection, paths, backups.BEFORE_RESTORE)
                advance = saved.Advance(paths, "restoring the database")
                backups.load(settings, paths, backup, advance)
                _note(settings, connection, paths, backups.maas(backup))
        except BaseException:
            _start(stopped, paths)
            raise
        print(f"The database is what it was in {backup.name}.", flush=True)
        if stopped:
            bootstrap.run(settings, paths)
            _start(stopped, paths)
    return ExitCode.STOPPED


def _claim(connection: Connection) -> None:
    """Make sure that nobody else uses the database, or raise MaasInitError that says who."""
    if not reach.try_lock(connection):
        raise MaasInitError(
            f"cannot restore: {reach.lock_holder(connection)} prepares the same database", hint="wait until it is done"
        )
    last = time.monotonic() + SESSIONS_GONE_WITHIN
    while users := sorted(set(connection.execute(SESSIONS, (APPLICATION,)).fetchall())):
        if time.monotonic() > last:
            told = ", ".join(f"{name} (from {where})" for name, where in users)
            raise MaasInitError(
                f"cannot restore: the database is in use by {told}; nothing was changed",
                hint="stop every other container that uses this database, or run this in the running one: "
                "docker compose exec maas maas-init restore latest",
            )
        time.sleep(0.2)


def _note(settings: RegionSettings, connection: Connection, paths: Paths, version: str) -> None:
    """Have the next bootstrap look at everything anew, and MAAS at its certificates, which are in the database."""
    known = bool(schema.rows(connection))
    applied = region.as_applied(settings, connection) if known else {}
    journal.note(paths, schema=None, version=version, upgrade=None, settings=applied)
    region.forget_certificates(paths)


def _stop_users(paths: Paths) -> list[str]:
    """Stop what uses the database and is wanted; return what was stopped, nothing where no supervisord is."""
    services = statusfile.services(paths)
    there = [name for name in USERS if name in services and services[name]["desired"]["on"]]
    for name in there:
        if systemctl.main(["stop", name], paths):
            _start(there, paths)
            raise MaasInitError(f"cannot restore: {name} does not stop", hint="nothing was changed")
    return there


def _start(names: list[str], paths: Paths) -> None:
    if names:
        systemctl.main(["--no-block", "start", *names], paths)


@contextmanager
def _server(settings: RegionSettings, paths: Paths) -> Iterator[None]:
    """Have the embedded server run where nobody else starts it.

    Raises MaasInitError when it ends before its time; SystemExit on SIGTERM.
    """
    if not settings.database.embedded or paths.supervisor_socket.exists():
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    server = os.fork()
    if server == 0:
        _serve(settings, paths)

    def look(_number: int, _frame: FrameType | None) -> None:
        if os.waitpid(server, os.WNOHANG) != (0, 0):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            raise MaasInitError(
                "cannot run the embedded PostgreSQL here: it has ended",
                hint="the reason is above; if the container of this volume runs, use it: "
                "docker compose exec maas maas-init restore latest",
            )

    on_child = signal.signal(signal.SIGCHLD, look)
    on_term = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, on_term)
        if signal.signal(signal.SIGCHLD, on_child) is look:
            os.kill(server, signal.SIGINT)
            os.waitpid(server, 0)


def _serve(settings: RegionSettings, paths: Paths) -> None:
    try:
        postgresql.serve(settings, paths)
    except MaasInitError as error:
        print(f"maas-init: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(ExitCode.FAILED)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
