"""The embedded PostgreSQL: make its data on the first start, lay its configuration, become the server.

Standard library only: this runs before every start of the server. The data of major version 15 lies in
/var/lib/maas/postgresql/15, beside that of other versions, so that none is ever opened by the wrong programs.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import commands, files, log, privileges
from .errors import MaasInitError
from .paths import Paths
from .settings import SUPERUSER, RegionSettings

IDENT_MAP = "maas-init"

MAX_CONNECTIONS = 200
"""One region needs about 100: up to 10 for each regiond process, the pools of apiserver, temporal-worker, Temporal."""

REFUSED = 0o027
"""Modes with which the server does not open its data: what others may do at all, and a group may write."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

HEADER = "# Written by maas-init at every start; changes are lost.\n"

LOCAL = """\
# Settings of your own for the embedded PostgreSQL; they win over those of maas-init, which never changes this file.
# For example: shared_buffers = 512MB
"""


def serve(settings: RegionSettings, paths: Paths, *, lock_within: float = 10.0) -> NoReturn:
    """Prepare the data directory and become the server, in the foreground, on a Unix socket only.

    A server that is still ending gets `lock_within` seconds.

    SIGINT stops it cleanly without waiting for clients ("fast shutdown").

    Raises MaasInitError when there is no server to run, or only data that it cannot read.
    """
    if not settings.database.embedded:
        raise MaasInitError(
            f"cannot run PostgreSQL in this container: POSTGRES_HOST is {settings.database.host}",
            hint="set POSTGRES_HOST to embedded",
        )
    user = _running_user()
    environ = ENVIRONMENT | privileges.names(paths)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    paths.postgresql.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.postgresql_socket.mkdir(parents=True, exist_ok=True)
    _lock(paths.postgresql / "lock", lock_within)
    installed = programs(paths)
    major = choose(installed, data_versions(paths))
    data = paths.postgresql / str(major)
    if not data.is_dir():
        _create(installed[major], data, environ)
    _make_private(data)
    if not (paths.postgresql / "local.conf").exists():
        files.write(paths.postgresql / "local.conf", LOCAL, mode=0o600)
    files.write(data / "postgresql.conf", configuration(settings, paths), mode=0o600)
    files.write(data / "pg_hba.conf", host_based_authentication(), mode=0o600)
    files.write(data / "pg_ident.conf", identity_map(user), mode=0o600)
    _remove_stale(data, paths.postgresql_socket)
    log.info("postgresql.started", version=major, data=data)
    server = os.fspath(installed[major] / "postgres")
    os.execve(server, [server, "-D", os.fspath(data)], environ)


def _make_private(directory: Path) -> None:
    """Make a directory that is for this user alone, whatever list of access it inherited: the server refuses any other.

    Raises MaasInitError where modes cannot be changed.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not directory.stat().st_mode & REFUSED:
        return
    files.try_chmod(directory, 0o700)
    mode = directory.stat().st_mode & 0o7777
    if mode & REFUSED:
        raise MaasInitError(
            f"cannot run PostgreSQL in {directory}: others may use it (mode {mode:o}), and that cannot be changed",
            hint="on TrueNAS: in the dataset's advanced options, ACL Mode: Passthrough "
            "(zfs set aclmode=passthrough DATASET); or set POSTGRES_HOST to a PostgreSQL server",
        )


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave without a traceback when stopped before there is a server; the server has its own ways."""
    raise SystemExit(128 + number)


def _running_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise MaasInitError(
            f"cannot run PostgreSQL as uid {os.geteuid()}: it has no name in this container",
            hint="run the container as its default user, or build the image with MAAS_UID, or use an external database",
        ) from None


def programs(paths: Paths) -> dict[int, Path]:
    """Return the directory of programs for each major version that is installed (the layout of Debian and Ubuntu)."""
    found = paths.at("/usr/lib/postgresql").glob("*/bin/postgres")
    return {int(path.parts[-3]): path.parent for path in found if path.parts[-3].isdecimal()}


def data_versions(paths: Paths) -> set[int]:
    """Return the major versions of which there is data."""
    found = paths.postgresql.glob("*/PG_VERSION")
    return {int(path.parent.name) for path in found if path.parent.name.isdecimal()}


def choose(installed: dict[int, Path], present: set[int]) -> int:
    """Return the major version to run: that of the data if there is any, else the newest installed.

    Raises MaasInitError when nothing is installed, or the data is of a version that is not.
    """
    if not installed:
        raise MaasInitError(
            "cannot run PostgreSQL in this container: no server is installed in /usr/lib/postgresql",
            hint="set POSTGRES_HOST to a PostgreSQL server, or build the image with the package postgresql",
        )
    if present and not present & installed.keys():
        there, here = max(present), max(installed)
        raise MaasInitError(
            f"cannot open the database: its data is of PostgreSQL {there} and this image has PostgreSQL {here}",
            hint="nothing was changed; with the previous image: docker compose run --rm maas maas-init backup; "
            "then with this one: docker compose run --rm maas mv "
            f"/var/lib/maas/postgresql/{there} /var/lib/maas/postgresql/{there}.old; "
            "docker compose run --rm maas maas-init restore latest",
        )
    return max(present & installed.keys() or installed)


def _create(bin_directory: Path, data: Path, environ: dict[str, str]) -> None:
    """Make an empty cluster beside its place and move it there, so that a crash leaves all or nothing."""
    began = time.monotonic()
    temporary = data.with_name(f".{data.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    _make_private(temporary)  # initdb sets the mode of a directory that is there, and trusts what it makes
    commands.run(
        os.fspath(bin_directory / "initdb"),
        f"--pgdata={temporary}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        environ=environ,
        silent_within=300.0,
    )
    temporary.rename(data)
    files.sync(data.parent)
    log.info("postgresql.created", data=data, seconds=time.monotonic() - began)


def configuration(settings: RegionSettings, paths: Paths) -> str:
    """Return postgresql.conf: what differs from PostgreSQL's own defaults, and what initdb would have chosen.

    ALTER SYSTEM and the file local.conf beside the data directories override it.
    """
    values = {
        "listen_addresses": "''",  # MAAS, Temporal and we use the socket; nobody else has business here
        "port": settings.database.port,
        "unix_socket_directories": _quoted(os.fspath(paths.postgresql_socket)),
        "unix_socket_permissions": "0770",
        "max_connections": MAX_CONNECTIONS,
        "password_encryption": "'scram-sha-256'",
        "shared_buffers": "128MB",
        # A probe for huge pages kills the server where a cgroup forbids them (SIGBUS), as in Kubernetes.
        "huge_pages": "off",
        # Parallel plans keep their data in /dev/shm, of which a container has 64 MB.
        "max_parallel_workers_per_gather": 0,
        # What a killed program asked for must not go on for long beside what its successor asks.
        "client_connection_check_interval": "5s",
        # MAAS's queries are many and short: compiling one takes longer than running it.
        "jit": "off",
        "log_destination": "'stderr'",
        "logging_collector": "off",
        "log_line_prefix": "'%q%u@%d '",  # who reads standard error adds time and name
        "log_checkpoints": "off",
        # Our own messages about connections are recognised by their English words (see database.WORDS).
        "lc_messages": "'C'",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "include": "'../local.conf'",  # last: later lines win
    }
    return HEADER + "".join(f"{name} = {value}\n" for name, value in values.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def host_based_authentication() -> str:
    """Return pg_hba.conf: who runs the server is its superuser without a password; everybody else gives one."""
    return HEADER + f"local  all  {SUPERUSER}  peer map={IDENT_MAP}\n" + "local  all  all  scram-sha-256\n"


def identity_map(user: str) -> str:
    """Return pg_ident.conf: the system's `user` may log in as superuser."""
    name = user.replace('"', '""')
    return f'{HEADER}{IDENT_MAP}  "{name}"  {SUPERUSER}\n'


def _lock(path: Path, within: float) -> None:
    """Hold a lock that every process of the server inherits, so that it ends with the last of them.

    PostgreSQL's own guard is a process id in a file, which says nothing in another container. Two containers that
    share a volume would both open the data and destroy it.

    Raises MaasInitError when another server holds it for longer than `within` seconds.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    last = time.monotonic() + within
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # Processes of a server that was killed need a moment to notice.
            if time.monotonic() > last:
                raise MaasInitError(
                    f"cannot open the database in {path.parent}: another PostgreSQL server is using it",
                    hint="two containers must not share one /var/lib/maas; stop the other one",
                ) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("postgresql.unlocked", path=path, reason=error.strerror)
            return
        time.sleep(0.05)


def _remove_stale(data: Path, socket_directory: Path) -> None:
    """Remove what a killed server left, when none is running.

    PostgreSQL refuses to start while the process whose id it finds in these files is alive. A container that starts
    again hands out the same small ids, so the id of the dead server is likely that of another program now. `_lock`
    has ruled out a server that we started; one that somebody started by hand runs in the data directory.
    """
    left = [data / "postmaster.pid", *socket_directory.glob(".s.PGSQL.*")]
    if not any(path.exists() for path in left) or _is_running(data):
        return
    for path in left:
        path.unlink(missing_ok=True)
    log.info("postgresql.recovered", reason="the last server did not stop cleanly", removed=len(left))


def _is_running(data: Path) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").samefile(data) and process.joinpath("comm").read_text().startswith("postgres"):
                return True
        except OSError:
            continue  # it ended, or belongs to somebody else and so cannot be a server on our data
    return False
