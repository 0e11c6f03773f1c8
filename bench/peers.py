"""The peers: how each is told about the same services, and the command line that makes it process 1."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build/bench"
TOY = BUILD / "toy"
OUR_PROGRAMS = BUILD / "venv/bin"
PYPI_PROGRAMS = BUILD / "peers/bin"


@dataclass(frozen=True)
class Service:
    """One service; its habits are those of toy.c."""

    name: str
    habits: tuple[str, ...] = ()
    port: int = 0
    """Where it answers HTTP; 0 when it does not."""
    probed: bool = False
    """Whether peers that can are to ask it and to restart it when it does not answer."""

    def argv(self, root: Path) -> list[str]:
        """Return its command line."""
        port = [f"port={self.port}"] if self.port else []
        return [os.fspath(TOY), "service", os.fspath(journal(root)), self.name, *self.habits, *port]


def journal(root: Path) -> Path:
    """Return the file in which services note what happens to them."""
    return root / "journal"


def services(count: int) -> list[Service]:
    """Return so many trivial services."""
    return [Service(f"service{number:03}") for number in range(1, count + 1)]


@dataclass(frozen=True)
class Peer:
    """One way to run services."""

    name: str
    lay_out: Callable[[Path, Sequence[Service]], list[str]]
    """Write what it reads below a directory and return its command line."""
    restarts: bool = True
    """Whether it starts again what ended."""
    asks: bool = False
    """Whether it asks services if they still answer."""


# maas-init.

OUR_SETTINGS = {
    "POSTGRES_HOST": "embedded",
    "POSTGRES_PASSWORD": "secret of the database",
    "MAAS_URL": "http://192.0.2.1:5240/MAAS",
    "MAAS_ADMIN_PASSWORD": "secret of the administrator",
    "MAAS_ADMIN_EMAIL": "admin@example.com",
}

OUR_LISTENER = """\
[eventlistener:health]
command = {programs}/maas-init listen
events = PROCESS_STATE,SUPERVISOR_STATE_CHANGE,REMOTE_COMMUNICATION
buffer_size = 1000
priority = 1
startsecs = 0
stopwaitsecs = 2
stderr_logfile = {root}/var/log/maas/health.log
stderr_logfile_maxbytes = 5MB
stderr_logfile_backups = 1

[check:volumes]
check = writable {root}/etc/maas {root}/var/lib/maas {root}/var/log/maas {root}/tmp/maas
check_every = 30
critical = yes
"""

OUR_DATABASE = """
[check:database]
check = postgres
"""
"""With it the listener imports PostgreSQL's client, as in every region; that nobody answers makes no difference."""

OUR_SERVICE = """\
[program:{name}]
command = {command}
autostart = false
autorestart = true
stopwaitsecs = 3
redirect_stderr = true
stdout_logfile = {root}/var/log/maas/{name}.log
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 1

[service:{name}]
critical = yes
"""

OUR_CHECK = """\
check = http http://127.0.0.1:{port}/ 200
on_check_failure = restart
"""


def environment(root: Path) -> Mapping[str, str]:
    """Return what maas-init is told where Docker would tell it; the others do not mind."""
    roots = {"MAAS_INIT_ROOT": os.fspath(root), "MAAS_INIT_SERVICES": f"{root}/services"}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} | OUR_SETTINGS | roots


def _maas_init(root: Path, wanted: Sequence[Service], more: str = "") -> list[str]:
    files = root / "services"
    files.mkdir()
    (files / "health.conf").write_text(OUR_LISTENER.format(programs=OUR_PROGRAMS, root=root) + more)
    for service in wanted:
        text = OUR_SERVICE.format(name=service.name, command=" ".join(service.argv(root)), root=root)
        check = OUR_CHECK.format(port=service.port) if service.probed else ""
        (files / f"{service.name}.conf").write_text(text + check)
    return [os.fspath(OUR_PROGRAMS / "maas-init"), "run"]


# supervisord as it comes.

SUPERVISORD = """\
[supervisord]
nodaemon = true
user = root
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {root}/supervisord.pid

[unix_http_server]
file = {root}/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{root}/supervisor.sock
"""

SUPERVISORD_PROGRAM = """
[program:{name}]
command = {command}
autorestart = true
stdout_logfile = /dev/stdout
stdout_logfile_maxbytes = 0
redirect_stderr = true
"""

HTTPOK = """
[eventlistener:httpok-{name}]
command = {programs}/httpok -p {name} -t {seconds} http://127.0.0.1:{port}/
events = {tick}
"""


def supervisord_conf(root: Path) -> Path:
    """Return the file that supervisorctl reads too."""
    return root / "supervisord.conf"


def _supervisord(root: Path, wanted: Sequence[Service], tick: str = "", seconds: int = 10) -> list[str]:
    text = SUPERVISORD.format(root=root)
    for service in wanted:
        text += SUPERVISORD_PROGRAM.format(name=service.name, command=" ".join(service.argv(root)))
        if tick and service.probed:
            text += HTTPOK.format(
                name=service.name, programs=PYPI_PROGRAMS, seconds=seconds, port=service.port, tick=tick
            )
    supervisord_conf(root).write_text(text)
    return [os.fspath(PYPI_PROGRAMS / "supervisord"), "-c", os.fspath(supervisord_conf(root))]


# Debian's.


def _script(path: Path, lines: Iterable[str]) -> None:
    path.write_text("#!/bin/sh\n" + "".join(f"{line}\n" for line in lines))
    path.chmod(0o755)


def _run_scripts(root: Path, wanted: Sequence[Service], *argv: str) -> list[str]:
    for service in wanted:
        directory = root / "scan" / service.name
        directory.mkdir(parents=True)
        _script(directory / "run", [f"exec {' '.join(service.argv(root))}"])
    # As in an image: runsvdir waits a second when somebody has just changed its directory.
    os.utime(root / "scan", (0, 0))
    return [*argv, f"{root}/scan"]


def _shell(root: Path, wanted: Sequence[Service], *argv: str) -> list[str]:
    _script(root / "start", [*(f"{' '.join(service.argv(root))} &" for service in wanted), "wait"])
    return [*argv, f"{root}/start"]


OURS = Peer("maas-init", _maas_init, asks=True)
OURS_IN_A_REGION = Peer("maas-init, asking a database too", partial(_maas_init, more=OUR_DATABASE), asks=True)
STOCK = Peer("supervisord", _supervisord)
PEERS = (
    OURS,
    STOCK,
    Peer("supervisord + httpok", partial(_supervisord, tick="TICK_60"), asks=True),
    Peer("supervisord + tuned httpok", partial(_supervisord, tick="TICK_5", seconds=2), asks=True),
    Peer("s6-svscan", lambda root, wanted: _run_scripts(root, wanted, "s6-svscan")),
    Peer("runsvdir", lambda root, wanted: _run_scripts(root, wanted, "runsvdir", "-P")),
    Peer("tini + sh", lambda root, wanted: _shell(root, wanted, "tini", "--"), restarts=False),
    Peer("dumb-init + sh", lambda root, wanted: _shell(root, wanted, "dumb-init", "--"), restarts=False),
)
