"""A small threaded HTTP server, on a TCP port or a Unix socket."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from .log import log


@dataclass
class Request:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Application = Callable[[Request], Response]


class _Threaded(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address) -> None:
        """A client that went away is not worth a traceback."""


def serve(application: Application, where: int | Path, mode: int = 0o666, host: str = "") -> None:
    """Listen and answer in a thread of its own. A Unix socket is made afresh.

    A port is opened on every address, unless `host` names one IPv4 address.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 120.0

        def address_string(self) -> str:
            return "unix" if isinstance(where, Path) else self.client_address[0]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silence: nginx has the access log."""

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            url = urlsplit(self.path)
            request = Request(
                self.command,
                url.path,
                parse_qsl(url.query, keep_blank_values=True),
                self.headers,
                self.rfile.read(length),
            )
            try:
                response = application(request)
            except Exception as error:
                log("http").error("%s %s: %s", self.command, url.path, error)
                response = Response(500, f"{type(error).__name__}: {error}".encode())
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    class Server(_Threaded):
        address_family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET6

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    if isinstance(where, Path):
        where.unlink(missing_ok=True)
        server = Server(str(where), Handler)  # type: ignore[arg-type]
        os.chmod(where, mode)
    elif not host and socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        server = Server(("::", where), Handler)
    else:
        Server.address_family = socket.AF_INET
        server = Server((host, where), Handler)
    threading.Thread(target=server.serve_forever, args=(3600.0,), daemon=True).start()
