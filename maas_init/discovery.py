"""Discovery: the one service beside DHCP that has raw sockets; it runs what MAAS watches and scans its networks with.

In MAAS regiond and rackd start these programs (maas-netmon, tcpdump, nmap, ping), most of them through sudo. Here the
bridges `sudo` and `ping` say over a Unix socket what shall run, and hand over their own standard streams. Discovery
starts it, ends it when nobody is left who wants it, and tells how it ended, as `systemd-run --pipe` would. So the
region, to which everybody speaks who logs in to MAAS, needs no capability.

Who may ask is whoever may run anything as this user; what can be asked for is what MAAS's own sources ask for.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

from . import signals
from .errors import MaasInitError
from .paths import Paths

_INTERFACE = r"[^\s\0/-][^\s\0/]{0,14}"
_ADDRESS = r"[0-9a-fA-F:.]+"

COMMANDS = {
    "maas-netmon": ("/usr/sbin/maas-netmon", _INTERFACE),
    "beacon-monitor": ("/usr/lib/maas/beacon-monitor", _INTERFACE),
    # It can run scripts and write files; so it is told what provisioningserver/utils/scan_network.py tells it, no more.
    "nmap": ("/usr/bin/nmap", rf"-e\0{_INTERFACE}(\0--max-rate\0[0-9]+)?\0-sn\0-n\0-oX\0-\0-PR\0[0-9.]+/[0-9]+"),
    # Whether an address is free (rpc/clusterservice.py), and the other way to scan. No other: a ping keeps its socket,
    # not the right to it, so that others of this user could take it over while it lasts.
    "ping": (
        "/usr/bin/ping",
        rf"-c\0001(\0-I\0{_INTERFACE})?\0{_ADDRESS}"
        rf"|-r\0-I\0{_INTERFACE}\0{_ADDRESS}\0-c\0003\0-w\0001\0-i\0000\.2\0-D\0-O\0-n\0-p\0[0-9a-f]{{1,32}}",
    ),
}
"""Each program's name, where it lies, and what its arguments, joined by NUL, must match."""

LONGEST = 1 << 16
"""Bytes of a request: words, each ended by NUL, and one NUL more."""
SLOWEST_CLIENT = 10.0
"""Seconds between two parts of a request at the most."""
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

WAIT = """
read -r code told <&3 || told="cannot tell how $0 ended: discovery ended first (maas-init why discovery)"
[ -z "$told" ] || printf 'maas-init: %s\\n' "$told" >&2
exit "${code:-1}"
"""
"""What a client becomes: a shell, which is small, because MAAS keeps two for each interface all the time."""


def serve(where: Paths) -> NoReturn:
    """Run what is asked for until somebody ends us; what runs then ends with us (plugin.py)."""
    where.discovery_socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.umask(0o177)
        listening.bind(os.fspath(where.discovery_socket))
        os.umask(before)
        listening.listen(socket.SOMAXCONN)
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # there are too many: until one of them ends the others wait
                time.sleep(0.1)
                continue
            try:
                threading.Thread(target=_attend, args=(client, where), daemon=True).start()
            except RuntimeError as error:
                _answer(client, f"1 {error}")


def _attend(client: socket.socket, where: Paths) -> None:
    """Hear one request, do it, and answer: an exit code, and why when nothing was run."""
    streams: list[int] = []
    try:
        answer = f"{_do(client, streams, where)}"
    except (MaasInitError, ValueError, OSError) as error:
        answer = f"1 {' '.join(str(error).split())}"
    finally:
        for stream in streams:
            os.close(stream)
    _answer(client, answer)


def _answer(client: socket.socket, words: str) -> None:
    with client, contextlib.suppress(OSError):  # whoever asked has gone
        client.sendall(f"{words}\n".encode(errors="replace"))


def _do(client: socket.socket, streams: list[int], where: Paths) -> int:
    """Do it and return its exit code; the standard streams are added to `streams`, for the caller to close."""
    client.settimeout(SLOWEST_CLIENT)
    heard, found, _, _ = socket.recv_fds(client, LONGEST, 3)
    streams += found
    while not heard.endswith(b"\0\0") and len(heard) < LONGEST and (more := client.recv(LONGEST)):
        heard += more
    if not heard.endswith(b"\0\0"):
        raise ValueError(f"cannot understand: give words, each ended by NUL, then NUL, in {LONGEST} bytes at the most")
    words = [os.fsdecode(word) for word in heard[:-2].split(b"\0")]
    if words == [""]:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
            os.close(os.pidfd_open(os.getpid()))
            return 0
    argv = command(words, where)
    if len(streams) != 3:
        raise ValueError("cannot run anything without three streams: hand over standard input, output and error")
    process = subprocess.Popen(argv, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    try:
        _wait_while_wanted(process, client, streams[1])
    finally:
        process.kill()  # it hears of it only if it still runs
        code = process.wait()
    return code if code >= 0 else 128 - code


def _wait_while_wanted(process: subprocess.Popen[bytes], client: socket.socket, output: int) -> None:
    """Wait until it ends; tell it to when the one who asked has gone, or the one who reads what it prints.

    MAAS's observers go without a word to what they started; in systemd's world it ends with MAAS's control group.
    """
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(client, select.POLLIN)
        poll.register(output, 0)  # which tells of errors alone: a pipe without a reader
        if ended not in dict(poll.poll()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        os.close(ended)


def command(words: Sequence[str], where: Paths) -> list[str]:
    """Return what shall be executed for these words. Raises MaasInitError when it is nothing that MAAS runs."""
    name = words[0].rpartition("/")[2]
    path, pattern = COMMANDS.get(name, ("", ""))
    if not path or not re.fullmatch(pattern, "\0".join(words[1:])):
        raise MaasInitError(
            f"cannot run {' '.join(words)} with raw sockets",
            hint=f"that is for what MAAS itself does with {', '.join(COMMANDS)}",
        )
    return [os.fspath(where.at(path)), *words[1:]]


def ask(words: Sequence[str], where: Paths) -> NoReturn:
    """Have a program run with raw sockets and our own standard streams: replaces this process, whose exit code is its.

    Where discovery does not run, the program itself takes our place: it may do without, or tells what it lacks. So does
    a ping that is not one of MAAS's.
    """
    connection = None
    try:
        argv = command(words, where)
        connection = _said(words, where)
    except MaasInitError:
        if words[0] != "ping":
            raise
        argv = [os.fspath(where.at(COMMANDS["ping"][0])), *words[1:]]
    signals.ignore_none()
    if connection is None:
        os.execv(argv[0], argv)
    os.dup2(connection.fileno(), 3)
    os.set_inheritable(3, True)
    os.execv("/bin/sh", ["sh", "-c", WAIT, words[0]])


def _said(words: Sequence[str], where: Paths) -> socket.socket | None:
    """Return a connection on which this was asked for, or None when nobody is there."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        if connection.fileno() <= 2:
            raise OSError("a standard stream was closed, and this one would be handed over in its place")
        connection.connect(os.fspath(where.discovery_socket))
        socket.send_fds(connection, [b"".join(os.fsencode(word) + b"\0" for word in words) + b"\0"], [0, 1, 2])
    except OSError:
        connection.close()
        return None
    return connection
