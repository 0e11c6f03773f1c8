"""Which DHCP servers answer on a network: one DHCPDISCOVER, as a machine without an address sends it (RFC 2131).

An answer only offers an address; nobody takes it, and the server forgets it soon.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from typing import NamedTuple

IPV4 = 0x0800
EVERYBODY = b"\xff" * 6
MAGIC = b"\x63\x82\x53\x63"
MESSAGE, SERVER = 53, 54
"""Options: the kind of message (1 discover, 2 offer), and by whom it is."""


class Offer(NamedTuple):
    """An answer."""

    server: str
    address: str
    """What it offers."""


def discover(interface: str, mac: bytes, within: float) -> list[Offer]:
    """Return who answers within so many seconds. Raises OSError: PermissionError without NET_RAW."""
    identity = secrets.token_bytes(4)
    found: dict[str, Offer] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(IPV4)) as packets:
        packets.bind((interface, IPV4))
        packets.sendto(_question(identity, mac), (interface, IPV4, 0, 0, EVERYBODY))
        last = time.monotonic() + within
        while (left := last - time.monotonic()) > 0:
            packets.settimeout(left)
            try:
                offer = parse(packets.recv(65535), identity)
            except TimeoutError:
                break
            if offer:
                found[offer.server] = offer
    return list(found.values())


def _question(identity: bytes, mac: bytes) -> bytes:
    # The flag asks for an answer to everybody: nobody else here has the address that is offered.
    bootp = struct.pack("!4B4s2H16s16s192x", 1, 1, 6, 0, identity, 0, 0x8000, bytes(16), mac) + MAGIC
    options = bytes([MESSAGE, 1, 1, 55, 3, 1, 3, SERVER, 255])
    payload = (bootp + options).ljust(300, b"\0")
    udp = struct.pack("!4H", 68, 67, 8 + len(payload), 0) + payload  # without a checksum, which IPv4 allows
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + udp


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parse(packet: bytes, identity: bytes) -> Offer | None:
    """Return the offer that a packet carries, when it is one and answers the question of this identity."""
    start = (packet[0] & 15) * 4 if packet else 0
    bootp = packet[start + 8 :]
    is_answer = packet[9:10] == b"\x11" and packet[start + 2 : start + 4] == b"\0\x44" and bootp[:1] == b"\x02"
    if not is_answer or bootp[4:8] != identity or bootp[236:240] != MAGIC:
        return None
    options = _options(bootp[240:])
    if options.get(MESSAGE) != b"\x02":
        return None
    server = options.get(SERVER, b"")
    return Offer(socket.inet_ntoa(server if len(server) == 4 else packet[12:16]), socket.inet_ntoa(bootp[16:20]))


def _options(text: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(text) > 1 and text[0] != 255:
        if text[0] == 0:
            text = text[1:]
            continue
        found[text[0]] = text[2 : 2 + text[1]]
        text = text[2 + text[1] :]
    return found
