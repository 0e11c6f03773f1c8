"""Each probe against a small real server that answers, answers wrongly, or does not answer."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import until

from maas_init import probes
from maas_init.health import Result
from maas_init.paths import Paths
from maas_init.probes import Question, in_thread
from maas_init.settings import MaasUrl


def ask(probe: probes.Probe, *arguments: str, within: float = 5.0, pid: int = 0) -> Result:
    return asyncio.run(probes.run(probe, "probe", Question(arguments, within, pid)))


@contextmanager
def tcp_listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers /STATUS with that status."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "a client"


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    with server:
        thread.start()
        yield
        server.shutdown()
        thread.join()


@contextmanager
def datagrams(address: str, port: int, reply: Callable[[bytes], bytes]) -> Iterator[None]:
    """Answer every datagram with what `reply` makes of it; nothing at all for nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        ended = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            while not ended.is_set():
                try:
                    packet, client = server.recvfrom(4096)
                except TimeoutError:
                    continue
                if answer := reply(packet):
                    server.sendto(answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        ended.set()
        thread.join()


def test_tcp_tells_whether_a_port_accepts_connections() -> None:
    with tcp_listener() as port:
        assert ask(probes.tcp, "127.0.0.1", str(port)).ok
    refused = ask(probes.tcp, "127.0.0.1", str(free_port()))
    assert not refused.ok
    assert "Connection refused" in refused.detail


def test_http_compares_the_status() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    with serving(server):
        address = f"http://127.0.0.1:{server.server_port}"
        assert ask(probes.answer, f"{address}/200", "200").detail == "HTTP status 200"
        assert "HTTP status 502 instead of 200" in ask(probes.answer, f"{address}/502", "200").detail
        assert ask(probes.answer, f"{address}/502", "any").detail == "it answers"


def test_http_speaks_to_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(socketserver.UnixStreamServer(str(path), Answers)):
        assert ask(probes.answer, f"unix:{path}:/204", "204").ok


class Proxy(Answers):
    """Answers only who asks as a client of a proxy does."""

    def do_GET(self) -> None:
        self.path = "/200" if self.path.startswith("http://there/") else "/400"
        super().do_GET()


def test_proxy_is_asked_for_a_whole_url() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Proxy)
    with serving(server):
        told = ask(probes.proxy, f"127.0.0.1:{server.server_port}", "http://there/page")
    assert (told.ok, told.detail) == (True, "HTTP status 200 for http://there/page")
    assert not ask(probes.proxy, f"127.0.0.1:{free_port()}", "http://there/page").ok
    with tcp_listener() as port:
        assert not ask(probes.proxy, f"127.0.0.1:{port}", "http://there/page", within=0.1).ok


def test_http_wants_an_answer_of_each_socket_that_a_star_stands_for(tmp_path: Path) -> None:
    pattern = f"unix:{tmp_path}/worker.sock.*:/200"
    assert "no worker.sock.* is there" in ask(probes.answer, pattern, "200").detail
    with serving(socketserver.UnixStreamServer(f"{tmp_path}/worker.sock.0", Answers)):
        assert ask(probes.answer, pattern, "200").detail == "HTTP status 200 from 1 sockets"
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(f"{tmp_path}/worker.sock.1")
            deaf.listen()
            silent = ask(probes.answer, pattern, "200", within=0.2)
    assert not silent.ok
    assert "worker.sock.1: no answer within 0.2 s" in silent.detail


class Region(http.server.BaseHTTPRequestHandler):
    """Answers racks, and nobody else."""

    told = b'{"eventloops": {"maas:pid=7": [["192.0.2.1", 5250]]}}'

    def do_GET(self) -> None:
        found = self.path == "/MAAS/rpc/"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.told) if found else 0))
        self.end_headers()
        self.wfile.write(self.told if found else b"")

    def log_message(self, *_: object) -> None:
        pass


class Unready(Region):
    told = b'{"eventloops": {}}'


class Other(Region):
    told = b"[]"


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (Region, "1 workers are registered"),
        (Unready, "no worker of the region has registered yet"),
        (Other, "the answer is not that of a region"),
    ],
)
def test_rpc_wants_a_region_whose_workers_have_registered(kind: type[Region], seen: str) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), kind)
    with serving(server):
        told = ask(probes.rpc, f"http://127.0.0.1:{server.server_port}/MAAS/rpc/")
    assert told.ok is (kind is Region)
    assert seen in told.detail


def test_one_region_of_several_is_enough() -> None:
    def regions(*urls: str) -> Result:
        wanted = [MaasUrl(url, "127.0.0.1", int(url.split(":")[2].split("/")[0])) for url in urls]
        return ask(lambda question: probes.regions(wanted, question.within))

    server = http.server.HTTPServer(("127.0.0.1", 0), Region)
    absent = f"http://127.0.0.1:{free_port()}/MAAS"
    with serving(server):
        there = f"http://127.0.0.1:{server.server_port}/MAAS"
        assert regions(absent, there).detail == f"{there} answers"
        wrong = regions(absent, there.replace("MAAS", "other"))
        assert "Connection refused" in wrong.detail and "HTTP status 404" in wrong.detail
        assert regions(there.replace("http:", "https:")).ok, "only the port is tried"
    assert not regions(absent).ok


def test_http_does_not_wait_for_who_never_answers() -> None:
    with tcp_listener() as port:
        silent = ask(probes.answer, f"http://127.0.0.1:{port}/", "any", within=0.2)
    assert not silent.ok
    assert "no answer within 0.2 s" in silent.detail


def test_dns_wants_a_record_in_the_reply_to_its_own_question() -> None:
    address = "127.77.0.53"
    question = (address, "localhost", "SOA")

    def reply(code: int, answers: int) -> Callable[[bytes], bytes]:
        return lambda packet: (
            packet[:2] + bytes([0x81, 0x80 | code]) + struct.pack("!4H", 1, answers, 0, 0) + packet[12:]
        )

    with datagrams(address, 53, reply(0, 1)):
        assert ask(probes.dns, *question).ok
    with datagrams(address, 53, reply(2, 0)):
        assert "answer code 2" in ask(probes.dns, *question).detail
    with datagrams(address, 53, reply(0, 0)):
        assert not ask(probes.dns, *question).ok
    with datagrams(address, 53, lambda packet: b"xx" + packet[2:]):
        assert "does not belong" in ask(probes.dns, *question).detail
    with datagrams(address, 53, lambda _: b""):
        assert "no answer" in ask(probes.dns, *question, within=0.2).detail


def test_zone_asks_for_the_first_zone_of_names(tmp_path: Path) -> None:
    address, file, asked = "127.77.0.53", tmp_path / "named.conf.maas", []

    def reply(packet: bytes) -> bytes:
        asked.append(packet[12:-5])
        return packet[:2] + bytes([0x81, 0x80]) + struct.pack("!4H", 1, 1, 0, 0) + packet[12:]

    with datagrams(address, 53, reply):
        assert ask(probes.zone, address, str(file)).ok
        file.write_text('zone "2.0.192.in-addr.arpa" {\n}\nzone "maas" {\n}\nzone "other" {\n}\n')
        assert ask(probes.zone, address, str(file)).detail == "maas SOA answered"
    assert asked == [b"\x09localhost", b"\x04maas"]


def test_omapi_wants_the_greeting_of_dhcpd() -> None:
    def greeted_with(greeting: bytes) -> Result:
        class Greets(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(greeting)

        server = socketserver.TCPServer(("127.0.0.1", 0), Greets)
        with serving(server):
            return ask(probes.omapi, "127.0.0.1", str(server.server_address[1]))

    assert greeted_with(struct.pack("!II", 100, 24)).ok
    assert "does not speak OMAPI" in greeted_with(b"HTTP/1.1").detail
    with tcp_listener() as port:
        assert "no answer" in ask(probes.omapi, "127.0.0.1", str(port), within=0.2).detail


def test_tftp_wants_a_block_of_the_file() -> None:
    address, asked = "127.77.0.69", []

    def reply(packet: bytes) -> bytes:
        if packet[:2] != b"\0\1":
            return b""
        asked.append(packet)
        return b"\0\3\0\1boot me" if b"there.txt" in packet else b"\0\5\0\1File not found\0"

    with datagrams(address, 69, reply):
        assert ask(in_thread(probes.tftp), address, "there.txt").detail == "there.txt: 7 bytes"
        assert "File not found" in ask(in_thread(probes.tftp), address, "absent.txt").detail
    assert asked[0] == b"\0\1there.txt\0octet\0"


def test_disk_space_names_what_is_short(tmp_path: Path) -> None:
    assert ask(in_thread(probes.disk_space), "1", str(tmp_path)).ok
    short = ask(in_thread(probes.disk_space), str(10**9), str(tmp_path))
    assert not short.ok
    assert f"MB are free in {tmp_path}, less than {10**9}" in short.detail


@pytest.mark.parametrize(
    ("files", "ok", "told"),
    [
        ({"memory.current": "900", "memory.max": "1000", "memory.stat": "inactive_file 0"}, True, "900 of 1000 MiB"),
        ({"memory.current": "970", "memory.max": "1000", "memory.stat": "inactive_file 0"}, False, "more than 95 %"),
        ({"memory.current": "970", "memory.max": "1000", "memory.stat": "inactive_file 100"}, True, "870 of 1000 MiB"),
        ({"memory.current": "970", "memory.max": "max", "memory.stat": "inactive_file 0"}, True, "970 MiB"),
        ({}, True, "the control group does not tell"),
    ],
)
def test_memory_is_compared_with_the_limit(tmp_path: Path, files: dict[str, str], ok: bool, told: str) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in files.items():
        *words, number = text.split()
        (group / name).write_text(" ".join([*words, str(int(number) << 20) if number.isdigit() else number]))
    found = ask(in_thread(probes.Memory(Paths(tmp_path))), "95")
    assert (found.ok, told in found.detail) == (ok, True), found


def test_memory_tells_how_fast_it_grows(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text(str(100 << 20))
    now = [0.0]
    probe = in_thread(probes.Memory(Paths(tmp_path), clock=lambda: now[0]))
    assert ask(probe, "95").detail == "100 MiB used"
    (group / "memory.current").write_text(str(200 << 20))
    now[0] = 299.0
    assert ask(probe, "95").detail == "200 MiB used", "what starts grows: that tells nothing"
    now[0] = 600.0
    assert ask(probe, "95").detail == "200 MiB used, +10.0 MiB a minute"
    now[0] = 900.0
    assert ask(probe, "95").detail == "200 MiB used, +0.0 MiB a minute"


def test_ntp_wants_the_reply_of_a_server() -> None:
    address = "127.77.0.123"
    with datagrams(address, 123, lambda _: bytes([0x24, 8]) + bytes(46)):
        assert ask(probes.ntp, address).detail == "answered at stratum 8"
    with datagrams(address, 123, lambda packet: packet):
        assert "not a server's" in ask(probes.ntp, address).detail


def test_peer_wants_a_connection_of_this_very_process() -> None:
    with tcp_listener() as port:
        assert not ask(in_thread(probes.peer), str(port), pid=os.getpid()).ok
        with socket.create_connection(("127.0.0.1", port)):
            assert ask(in_thread(probes.peer), str(port), pid=os.getpid()).ok
            assert not ask(in_thread(probes.peer), str(port), pid=1).ok
        with socket.socket(socket.AF_INET6) as client:  # as Twisted and Go have them
            client.connect(("::ffff:127.0.0.1", port))
            assert ask(in_thread(probes.peer), str(port), pid=os.getpid()).ok


def test_link_wants_a_connection_that_lasts() -> None:
    now = [100.0]
    link = in_thread(probes.Link(os.getpid, clock=lambda: now[0]))
    with tcp_listener() as port:
        ports = (str(port), str(port))
        assert "no connection to a region lasts" in ask(link, *ports).detail
        for _ in range(3):  # one after the other, as with a region that refuses
            with socket.create_connection(("127.0.0.1", port)):
                now[0] += 2
                assert not ask(link, *ports).ok
        with socket.create_connection(("127.0.0.1", port)):
            assert not ask(link, *ports).ok
            now[0] += 3
            assert ask(link, *ports).detail == "1 connections to a region"
            assert not ask(link, "1", "2").ok


def test_peer_that_is_suspended_is_not_well() -> None:
    with tcp_listener() as port:
        connect = f"import socket, time; s = socket.create_connection(('127.0.0.1', {port})); time.sleep(1000)"
        with subprocess.Popen([sys.executable, "-S", "-c", connect]) as process:
            try:
                until(lambda: ask(in_thread(probes.peer), str(port), pid=process.pid).ok)
                process.send_signal(signal.SIGSTOP)
                until(lambda: "is suspended" in ask(in_thread(probes.peer), str(port), pid=process.pid).detail)
            finally:
                process.kill()


def test_writable_names_the_directory_that_is_not(tmp_path: Path) -> None:
    assert ask(in_thread(probes.writable), str(tmp_path)).ok
    assert list(tmp_path.iterdir()) == []
    missing = ask(in_thread(probes.writable), str(tmp_path), str(tmp_path / "missing"))
    assert not missing.ok
    assert f"cannot write in {tmp_path}/missing: No such file or directory" in missing.detail


@pytest.mark.parametrize("error", [ValueError("odd"), RuntimeError(), KeyError("x")])
def test_whatever_a_probe_raises_is_a_failure_and_not_the_end(error: Exception) -> None:
    async def broken(_: Question) -> str:
        raise error

    result = ask(broken)
    assert not result.ok
    assert result.detail.startswith("probe: ")
