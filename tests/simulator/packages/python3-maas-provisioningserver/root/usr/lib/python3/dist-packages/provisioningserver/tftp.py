"""A read-only TFTP server with blksize, tsize and timeout (RFC 1350, 2347-2349)."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from pathlib import Path

from .log import log

terse = log("provisioningserver.rackdservices.tftp")
RRQ, DATA, ACK, ERROR, OACK = 1, 3, 4, 5, 6


class TftpServer:
    """One socket per own address, as MAAS does; addresses are looked at again."""

    def __init__(self, root: Path, port: int, max_blksize: int) -> None:
        self.root, self.port, self.max_blksize = root, port, max_blksize
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def run(self, addresses, every: float = 45.0) -> None:
        """Serve for ever. A port that cannot be had is only logged."""
        next_look = 0.0
        while True:
            if time.monotonic() >= next_look:
                self._bind(set(addresses()))
                next_look = time.monotonic() + every
            for key, _ in self._selector.select(next_look - time.monotonic()):
                request, client = key.fileobj.recvfrom(2048)  # type: ignore[union-attr]
                threading.Thread(target=self._answer, args=(key.data, client, request), daemon=True).start()

    def _bind(self, wanted: set[str]) -> None:
        for address in wanted - self._sockets.keys():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.bind((address, self.port))
            except OSError as error:
                terse.error("Failed to start TFTP endpoint on %s: %s", address, error)
                sock.close()
                continue
            self._sockets[address] = sock
            self._selector.register(sock, selectors.EVENT_READ, address)
        for address in self._sockets.keys() - wanted:
            sock = self._sockets.pop(address)
            self._selector.unregister(sock)
            sock.close()

    def _answer(self, address: str, client: tuple, request: bytes) -> None:
        if len(request) < 4 or struct.unpack(">H", request[:2])[0] != RRQ:
            return
        fields = [f.decode(errors="replace") for f in request[2:].split(b"\0")]
        name, options = fields[0], dict(zip(fields[2::2], fields[3::2], strict=False))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
            sock.settimeout(2.0)
            path = (self.root / name.lstrip("/")).resolve()
            terse.info("%s requested by %s", name, client[0])
            if not path.is_relative_to(self.root.resolve()) or not path.is_file():
                sock.sendto(struct.pack(">HH", ERROR, 1) + b"File not found\0", client)
                return
            try:
                self._send(sock, client, path, {k.lower(): v for k, v in options.items()})
            except (OSError, ValueError) as error:
                terse.error("%s to %s: %s", name, client[0], error)

    def _send(self, sock: socket.socket, client: tuple, path: Path, asked: dict) -> None:
        size, agreed = 512, {}
        if "blksize" in asked:
            size = max(8, min(int(asked["blksize"]), self.max_blksize))
            agreed["blksize"] = size
        if "tsize" in asked:
            agreed["tsize"] = path.stat().st_size
        if "timeout" in asked:
            sock.settimeout(float(asked["timeout"]))
            agreed["timeout"] = asked["timeout"]
        if agreed:
            words = b"".join(f"{k}\0{v}\0".encode() for k, v in agreed.items())
            if not _exchange(sock, client, struct.pack(">H", OACK) + words, 0):
                return
        with path.open("rb") as file:
            block = 0
            while True:
                block += 1
                data = file.read(size)
                packet = struct.pack(">HH", DATA, block & 0xFFFF) + data
                if not _exchange(sock, client, packet, block & 0xFFFF) or len(data) < size:
                    return


def _exchange(sock: socket.socket, client: tuple, packet: bytes, block: int) -> bool:
    """Send until it is acknowledged; False when the client has had enough."""
    for _ in range(5):
        sock.sendto(packet, client)
        try:
            while True:
                reply, sender = sock.recvfrom(2048)
                if sender[:2] != client[:2] or len(reply) < 4:
                    continue
                kind, number = struct.unpack(">HH", reply[:4])
                if kind == ERROR:
                    return False
                if kind == ACK and number == block:
                    return True
        except TimeoutError:
            continue
    return False
