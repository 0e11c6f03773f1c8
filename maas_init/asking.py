"""Asking the health listener: one request over the Pebble socket, and the outcome of what takes its time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .errors import MaasInitError

LISTENER_BACK_WITHIN = 10.0
"""Seconds in which supervisord brings back a listener that died."""
ANSWER_WITHIN = 30.0
"""Seconds; longer than one wait for a change (WAIT)."""
WAIT = "10s"


def ask(sock: Path, method: str, path: str, payload: object = None) -> tuple[int, Any]:
    """Send one request to the health listener; return HTTP's status and the answer.

    A listener that is being started again is waited for. What it had not answered is said again, but for signals:
    nobody knows whether they were sent. Raises MaasInitError when no answer can be had.
    """
    from http.client import HTTPException  # what only tells how things are does without it

    last = time.monotonic() + LISTENER_BACK_WITHIN
    while True:
        try:
            return _ask_once(sock, method, path, payload)
        except (OSError, HTTPException, ValueError) as error:
            never_heard = isinstance(error, (BlockingIOError, ConnectionRefusedError, FileNotFoundError))
            dropped = isinstance(error, ConnectionError) and path != "/v1/signals"
            if not (never_heard or dropped) or time.monotonic() > last:
                raise MaasInitError(f"cannot ask the health listener at {sock}: {error}") from error
        time.sleep(0.05)


def outcome(sock: Path, change: str) -> str:
    """Wait until a change is done; return why it failed, or nothing. Raises MaasInitError as `ask` does."""
    status: int = 504
    answer: Any = {}
    while status == 504:  # not yet
        status, answer = ask(sock, "GET", f"/v1/changes/{change}/wait?timeout={WAIT}")
    return str(answer["result"].get("err" if status == 200 else "message", ""))


def _ask_once(sock: Path, method: str, path: str, payload: object) -> tuple[int, Any]:
    from .unixhttp import UnixConnection

    connection = UnixConnection(sock, timeout=ANSWER_WITHIN)
    try:
        connection.request(method, path, body=None if payload is None else json.dumps(payload))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
