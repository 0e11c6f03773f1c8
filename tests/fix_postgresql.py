"""A real embedded PostgreSQL for tests, run by a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Here, because the user that runs the server may not be able to read the modules that are imported later.
import structlog  # noqa: F401

from maas_init import database, postgresql
from maas_init.database import CannotUse, Connection
from maas_init.paths import Paths
from maas_init.settings import RegionSettings, Settings

REQUIRED = {
    "POSTGRES_HOST": "embedded",
    "POSTGRES_PASSWORD": "secret-of-the-database",
    "MAAS_URL": "http://192.0.2.1:5240/MAAS",
    "MAAS_ADMIN_PASSWORD": "secret-of-the-administrator",
    "MAAS_ADMIN_EMAIL": "admin@example.com",
    "MAAS_INIT_DATABASE_ATTEMPTS": "3",
    "MAAS_INIT_DATABASE_INTERVAL": "0.05",
}

SERVER_USER = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
"""PostgreSQL refuses to run as root, and the tests may."""


def settings(**environ: str) -> RegionSettings:
    return Settings.from_environ(REQUIRED | environ).region()


def until(assertion: Callable[[], bool], within: float = 15.0) -> None:
    last = time.monotonic() + within
    while not assertion():
        assert time.monotonic() < last, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def as_server_user() -> Iterator[None]:
    """Be known to a Unix socket's other end as the user that runs the server."""
    before = os.geteuid()
    os.seteuid(SERVER_USER)
    try:
        yield
    finally:
        os.seteuid(before)


class Server:
    """`maas-init postgresql` in a process of its own, below a temporary root."""

    def __init__(self) -> None:
        # Not pytest's directory: others may not enter it, and its name is too long for a socket.
        self.root = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
        self.root.chmod(0o755)
        self.paths = Paths(self.root)
        self.log = self.root / "log"
        for directory in (self.paths.run, self.paths.maas_data, self.paths.maas_etc, self.paths.at("/usr/lib")):
            directory.mkdir(parents=True)
        for directory in (self.root, self.paths.run.parent, self.paths.maas_data):
            os.chown(directory, SERVER_USER, -1)
        self.paths.at("/usr/lib/postgresql").symlink_to("/usr/lib/postgresql")
        self.pid = 0

    def spawn(self, wanted: RegionSettings, user: int = SERVER_USER, lock_within: float = 10.0) -> int:
        """Start the program and return its process id at once."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                os.dup2(output, 1)
                os.dup2(output, 2)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setuid(user)
                postgresql.serve(wanted, self.paths, lock_within=lock_within)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(status)
        return pid

    def start(self, wanted: RegionSettings | None = None) -> float:
        """Start the server and wait until it answers; return how many seconds that took."""
        began = time.monotonic()
        self.pid = self.spawn(wanted or settings())
        until(self._answers)
        return time.monotonic() - began

    def _answers(self) -> bool:
        assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.log.read_text()
        try:
            self.superuser().close()
        except CannotUse:
            return False
        return True

    def superuser(self) -> Connection:
        with as_server_user():
            return database.connect_as_superuser(settings().database, self.paths)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop the server; return its exit status as a shell would tell it."""
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def remove(self) -> None:
        if self.pid:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.root)
