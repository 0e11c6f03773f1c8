"""Who holds a port: the kernel shows every socket of this network, but only the processes of this container."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LISTENS, BOUND = "0A", "07"
"""States in the kernel's tables: of TCP that waits for connections, of UDP that is connected to nobody."""


class Socket(NamedTuple):
    """One that others cannot have."""

    protocol: str
    address: str
    port: int
    uid: int
    inode: str


class Holder(NamedTuple):
    """Of a port."""

    socket: Socket
    pid: int
    """0 when it is no process of this container."""
    name: str

    def __str__(self) -> str:
        socket = self.socket
        shown = f"[{socket.address}]" if ":" in socket.address else socket.address
        who = f"{self.name} (process {self.pid})" if self.pid else f"uid {socket.uid} outside this container"
        look = "" if self.pid else f", to be found there with: ss -lnp{socket.protocol[0]} sport = :{socket.port}"
        return (
            f"port {socket.port}/{socket.protocol} is taken: {who} listens at {shown}:{socket.port}{look}; "
            "stop that, then it comes up by itself"
        )


def holder(wanted: Iterable[tuple[str, str, int]], own_group: int, proc: Path = Path("/proc")) -> Holder | None:
    """Return who holds one of `wanted` (protocol, address or nothing for all, port) and is not in this process group.

    Addresses conflict when they are the same, or one of them means all.
    """
    sockets = [socket for protocol in ("tcp", "udp") for socket in _sockets(protocol, proc)]
    for protocol, address, port in wanted:
        for socket in sockets:
            everywhere = not address or ipaddress.ip_address(socket.address).is_unspecified
            if (socket.protocol, socket.port) == (protocol, port) and (everywhere or socket.address == address):
                pid = _process_with(socket.inode, proc)
                try:
                    if not pid or os.getpgid(pid) != own_group:
                        return Holder(socket, pid, (proc / str(pid) / "comm").read_text().strip() if pid else "")
                except OSError:
                    continue  # it has just ended
    return None


def _sockets(protocol: str, proc: Path) -> Iterable[Socket]:
    for table in (protocol, f"{protocol}6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:  # a kernel without IPv6
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == (LISTENS if protocol == "tcp" else BOUND):
                address, _, port = fields[1].partition(":")
                yield Socket(protocol, _address(address), int(port, 16), int(fields[7]), fields[9])


def _address(words: str) -> str:
    """Return the address that the kernel shows as words of 32 bits in this machine's order."""
    packed = b"".join(int(words[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(words), 8))
    return str(ipaddress.ip_address(packed))


def _process_with(inode: str, proc: Path) -> int:
    for folder in proc.glob("[0-9]*/fd"):
        try:
            if any(entry.readlink() == Path(f"socket:[{inode}]") for entry in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue  # it ended, or belongs to somebody else
    return 0
