"""Each probe against a small real server that answers, answers wrongly, or does not answer."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maas_init import probes
from maas_init.health import Result
from maas_init.probes import Question
from maas_init.settings import MaasUrl


def ask(probe: probes.Probe, *arguments: str, within: float = 5.0, pid: int = 0) -> Result:
    return probes.run(probe, "probe", Question(arguments, within, pid))


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


def test_connect_tells_whether_a_unix_socket_accepts_connections(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert "No such file" in ask(probes.connect, path).detail
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert not ask(probes.connect, path).ok
        listener.listen()
        assert ask(probes.connect, path).ok


def test_http_compares_the_status() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    with serving(server):
        address = f"http://127.0.0.1:{server.server_port}"
        assert ask(probes.answer, f"{address}/200", "200").detail == "HTTP status 200"
        assert "HTTP status 502 instead of 200" in ask(probes.answer, f"{address}/502", "200").detail
        assert ask(probes.answer, f"{address}/502", "any").ok


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


class Region(Answers):
    """Answers racks, and nobody else."""

    def do_GET(self) -> None:
        self.path = "/200" if self.path == "/MAAS/rpc/" else "/404"
        super().do_GET()


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


def test_ntp_wants_the_reply_of_a_server() -> None:
    address = "127.77.0.123"
    with datagrams(address, 123, lambda _: bytes([0x24, 8]) + bytes(46)):
        assert ask(probes.ntp, address).detail == "answered at stratum 8"
    with datagrams(address, 123, lambda packet: packet):
        assert "not a server's" in ask(probes.ntp, address).detail


def test_peer_wants_a_connection_of_this_very_process() -> None:
    with tcp_listener() as port:
        assert not ask(probes.peer, str(port), pid=os.getpid()).ok
        with socket.create_connection(("127.0.0.1", port)):
            assert ask(probes.peer, str(port), pid=os.getpid()).ok
            assert not ask(probes.peer, str(port), pid=1).ok


def test_writable_names_the_directory_that_is_not(tmp_path: Path) -> None:
    assert ask(probes.writable, str(tmp_path)).ok
    assert list(tmp_path.iterdir()) == []
    missing = ask(probes.writable, str(tmp_path), str(tmp_path / "missing"))
    assert not missing.ok
    assert f"cannot write in {tmp_path}/missing: No such file or directory" in missing.detail


@pytest.mark.parametrize("error", [ValueError("odd"), RuntimeError(), KeyError("x")])
def test_whatever_a_probe_raises_is_a_failure_and_not_the_end(error: Exception) -> None:
    def broken(_: Question) -> str:
        raise error

    result = ask(broken)
    assert not result.ok
    assert result.detail.startswith("probe: ")
