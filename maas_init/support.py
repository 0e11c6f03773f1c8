"""The support bundle: what others need to help, in one archive, each part masked before it goes in."""

from __future__ import annotations

import io
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from . import __version__, commands, doctor, files, lastwords, masking, services
from .doctor import Patient
from .errors import ExitCode, MaasInitError
from .masks import HIDDEN
from .settings import variables

LARGEST = 1 << 20
"""Bytes of a file: its newest."""

CONFIGURATION = (
    *("run/maas-init/*.conf", "run/maas-init/http/*.conf", "run/maas-init/*.json"),
    *("etc/maas/*.conf", "etc/maas/*.yaml", "etc/resolv.conf", "etc/hosts", "etc/os-release"),
    *("etc/bind/named.conf*", "etc/bind/maas/*", "etc/chrony/chrony.conf", "etc/chrony/conf.d/*"),
    *("var/lib/maas/*.conf", "var/lib/maas/http/*.conf", "var/lib/maas/temporal/*.yaml", "var/lib/maas/rpc.state"),
    *("var/lib/maas/maas-init/*.json", "var/lib/maas/maas_id"),
)
"""Below the root: what maas-init and MAAS wrote for the daemons."""

FACTS = (
    *("proc/self/mountinfo", "proc/1/status", "proc/self/limits", "proc/loadavg", "proc/meminfo"),
    *(f"{lastwords.CONTROL_GROUP[1:]}/{file}" for group in lastwords.MEMORY for file in group),
    *("sys/fs/cgroup/pids.max", "sys/fs/cgroup/cpu.max"),
)
"""What the kernel says of the container."""

COMMANDS = {
    "network/addresses.txt": ("ip", "address"),
    "network/routes.txt": ("ip", "route"),
    "network/sockets.txt": ("ss", "--numeric", "--listening", "--tcp", "--udp"),
    "volumes.txt": ("df", "--human-readable", "--print-type"),
}


def main(patient: Patient, target: str | None) -> int:
    """Write the archive to a file, or to standard output. Raises MaasInitError when that cannot be done."""
    if target is None and sys.stdout.isatty():
        raise MaasInitError(
            "cannot write an archive to a terminal",
            hint="give a file, or redirect: docker exec maas maas-init support-bundle > bundle.tar.gz",
        )
    if target is None:
        write(patient, sys.stdout.buffer)
        return ExitCode.STOPPED
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            number = write(patient, stream)
    except OSError as error:
        raise MaasInitError(f"cannot write {target}: {error.strerror}") from error
    sys.stdout.write(f"{target}: {number} files without secrets; look through it before you pass it on\n")
    return ExitCode.STOPPED


def write(patient: Patient, stream: IO[bytes]) -> int:
    """Write the archive to `stream`; return how many files are in it."""
    secrets = masking.secrets_here(patient.where, patient.environ)
    folder = f"maas-init-{os.uname().nodename}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    number = 0
    with tarfile.open(fileobj=stream, mode="w|gz") as archive:
        for name, text in parts(patient):
            content = masking.masked(text, secrets).encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
            number += 1
    return number


def parts(patient: Patient) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file, not masked yet. What cannot be had says so in its place."""
    where = patient.where
    yield "status.json", files.as_json(patient.status)
    yield "doctor.json", _had(_doctor, patient)
    yield "versions.txt", _had(_versions, where.at("/var/lib/dpkg/status"))
    yield "environment.txt", _environment(patient)
    yield "processes.txt", _had(_processes)
    for name, argv in COMMANDS.items():
        yield name, _had(commands.run, *argv)
    for folder, patterns in (("kernel", FACTS), ("configuration", CONFIGURATION)):
        for pattern in patterns:
            for file in sorted(where.root.glob(pattern)):
                if file.is_file():
                    yield f"{folder}/{file.relative_to(where.root)}", _had(_end_of, file)
    for file in services.service_files(*patient.service_files):
        yield f"services/{file.name}", _had(_end_of, file)
    for file in sorted(path for pattern in ("*.log", "*.log.1", "*.txt") for path in where.maas_logs.rglob(pattern)):
        yield f"logs/{file.relative_to(where.maas_logs)}", _had(_end_of, file)


def _had(make: Callable[..., str], *arguments: Any) -> str:
    try:
        return make(*arguments)
    except Exception as error:  # a part that is missing must not cost the others
        return f"cannot be had: {type(error).__name__}: {error}\n"


def _doctor(patient: Patient) -> str:
    return files.as_json(doctor.described(doctor.examine(patient)))


def _end_of(file: Path) -> str:
    """Return the newest of a file, from the beginning of a line."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LARGEST:
            stream.seek(size - LARGEST)
            stream.readline()
        return stream.read(LARGEST).decode("utf-8", "replace")


def _versions(packages: Path) -> str:
    installed = re.findall(r"(?m)^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", _whole(packages))
    lines = [f"maas-init {__version__}", f"Python {platform.python_version()}", " ".join(os.uname())]
    return "\n".join([*lines, "", *(f"{name} {version}" for name, version in installed), ""])


def _whole(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _environment(patient: Patient) -> str:
    """Return our variables as they are set; of a secret only that it is."""
    lines = []
    for variable in variables(patient.environ):
        for name in (variable.name, f"{variable.name}_FILE"):
            if patient.environ.get(name):
                secret = variable.secret and name == variable.name
                lines.append(f"{name}={HIDDEN if secret else patient.environ[name]}\n")
    return "".join(lines)


def _processes() -> str:
    lines = []
    for process in psutil.process_iter():
        try:
            memory = process.memory_info().rss >> 20
            numbers = f"{process.pid:>7} {process.ppid():>7} {process.uids().effective:>5} {memory:>5} MiB"
            command = " ".join(process.cmdline()) or process.name()
            lines.append(f"{numbers} {process.status():<10} {command}\n")
        except psutil.Error:
            continue  # it ended meanwhile
    return "    pid  parent   uid    memory state      command\n" + "".join(lines)
