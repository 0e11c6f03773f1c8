"""The simulator's own RPC between rackd and regiond: one JSON object per line.

MAAS speaks AMP here; nothing outside MAAS sees it, so only the ports, the
shared secret and who connects to whom are kept. A message is a request
{"id", "command", ...}, a reply {"reply", "result"} or {"reply", "error"}.
"""

from __future__ import annotations

import hmac
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

Handler = Callable[..., Any]


class RpcError(Exception):
    """The other side refused."""


class Connection:
    """Both ends may ask; replies are matched by id."""

    def __init__(self, sock: socket.socket, commands: dict[str, Handler]) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self._commands = commands
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._one_writer = threading.Lock()
        self.closed = threading.Event()

    def authenticate(self, secret: bytes) -> None:
        """Each side proves that it knows the shared secret."""
        mine = os.urandom(16).hex()
        self._write({"challenge": mine})
        theirs = self._read().get("challenge", "")
        self._write({"proof": _digest(secret, theirs)})
        if not hmac.compare_digest(self._read().get("proof", ""), _digest(secret, mine)):
            self.close()
            raise RpcError("the other side does not know the shared secret")

    def listen(self) -> None:
        """Handle what comes until the connection ends; run it in a thread."""
        try:
            while not self.closed.is_set():
                message = self._read()
                if "reply" in message:
                    event, box = self._waiting.pop(message["reply"], (None, {}))
                    box.update(message)
                    if event:
                        event.set()
                else:
                    threading.Thread(target=self._answer, args=(message,), daemon=True).start()
        except (OSError, ValueError):
            pass
        finally:
            self.close()

    def ask(self, command: str, within: float = 30.0, **arguments: Any) -> Any:
        event, box = threading.Event(), {}
        number = next(self._ids)
        self._waiting[number] = (event, box)
        self._write({"id": number, "command": command, "arguments": arguments})
        if not event.wait(within):
            raise RpcError(f"{command} was not answered within {within:g} s")
        if "error" in box:
            raise RpcError(box["error"])
        return box.get("result")

    def close(self) -> None:
        self.closed.set()
        for event, box in list(self._waiting.values()):
            box["error"] = "connection lost"
            event.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            handler = self._commands[message["command"]]
            reply = {"result": handler(self, **message.get("arguments", {}))}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            self._write({"reply": message["id"], **reply})
        except OSError:
            self.close()

    def _write(self, message: dict[str, Any]) -> None:
        with self._one_writer:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise OSError("end of connection")
        return json.loads(line)


def _digest(secret: bytes, challenge: str) -> str:
    return hmac.digest(secret, challenge.encode(), "sha256").hex()
