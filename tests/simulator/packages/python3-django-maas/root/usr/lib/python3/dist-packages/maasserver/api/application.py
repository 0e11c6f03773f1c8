"""From a request to an answer: routes, operations, users, errors."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qsl

import psycopg2

from provisioningserver import simulation
from provisioningserver.http_server import Request, Response
from provisioningserver.log import log

from .. import database
from . import authentication, resources

API = "/MAAS/api/2.0/"
terse = log("maasserver")


@dataclass
class Call:
    """A request with what is known about it."""

    cursor: Any
    user: Any
    method: str
    operation: str
    fields: dict[str, str]


class HttpError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer(request: Request) -> Response:
    """Without a database most requests hang for long; /MAAS/rpc/ fails after 3 s."""
    if simulation.switch("hang-api") is not None:
        time.sleep(3600.0)
    patience = 3.0 if request.path.startswith("/MAAS/rpc") else 30.0
    deadline = time.monotonic() + patience
    while True:
        try:
            with database.transaction() as cursor:
                return _answer(cursor, request)
        except psycopg2.Error as error:
            if database.lost(error) and time.monotonic() < deadline:
                time.sleep(1.0)
                continue
            terse.error("500 Internal Server Error @ %s", request.path, exc_info=True)
            return Response(500, f"{type(error).__name__}: {error}".encode())


def _answer(cursor, request: Request) -> Response:
    path, operation = request.path, ""
    if match := re.fullmatch(r"(.*/)op-(\w+)", path):
        path, operation = match.groups()
    fields = {**dict(request.query), **form(request)}
    operation = operation or fields.pop("op", "")
    try:
        user = authentication.user(cursor, request.headers)
        call = Call(cursor, user, request.method, operation, fields)
        return _render(_route(path, call))
    except authentication.Unauthorised as error:
        headers = {"WWW-Authenticate": 'OAuth realm="OAuth"'}
        return Response(401, str(error).encode(), headers=headers)
    except (HttpError, resources.Refused) as error:
        cursor.connection.rollback()
        return _render((error.status, error.args[0]))


def _route(path: str, call: Call) -> Any:
    match path:
        case "/MAAS/api/version/":
            return 200, "2.0"
        case "/MAAS/rpc/":
            return resources.rpc(call)
        case "/MAAS/accounts/login/":
            return login(call)
        case "/MAAS/accounts/authenticate/":
            return authenticate(call)
    if not path.startswith(API):
        raise HttpError(404, "Not Found")
    rest = path.removeprefix(API)
    for pattern, handlers in resources.ROUTES:
        if match := re.fullmatch(pattern, rest):
            handler: Callable | None = handlers.get((call.method, call.operation))
            if handler is None:
                raise HttpError(400, f"Unrecognised signature: method={call.method} op={call.operation or None}")
            if rest not in resources.FOR_ANYBODY and call.user is None:
                raise authentication.Unauthorised("Unrecognised signature or no credentials.")
            if handler in resources.FOR_ADMINS and not call.user.is_superuser:
                raise HttpError(403, "User is not allowed access to this API.")
            return handler(call, *match.groups())
    raise HttpError(404, "Not Found")


def login(call: Call) -> Any:
    if call.method == "POST":
        user = authentication.by_password(call.cursor, call.fields.get("username", ""), call.fields.get("password", ""))
        if user is None:
            return 400, {"__all__": ["Please enter a correct username and password."]}
        return 204, ""
    call.cursor.execute(
        "SELECT NOT EXISTS (SELECT 1 FROM auth_user WHERE username NOT IN ('MAAS', 'maas-init-node')) AS empty"
    )
    return {
        "authenticated": False,
        "external_auth_url": None,
        "no_users": call.cursor.fetchone().empty,
    }


def authenticate(call: Call) -> Any:
    if call.method != "POST":
        raise HttpError(405, "Method Not Allowed")
    user = authentication.by_password(call.cursor, call.fields.get("username", ""), call.fields.get("password", ""))
    if user is None:
        return 403, "Forbidden"
    return resources.token_of(call, user, call.fields.get("consumer"))


def form(request: Request) -> dict[str, str]:
    """Fields of a body: URL-encoded or multipart, as MAAS's clients send them."""
    kind = request.headers.get("Content-Type") or ""
    if kind.startswith("multipart/form-data"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + request.body).get_payload()
        return {
            str(part.get_param("name", header="content-disposition")): (part.get_payload(decode=True) or b"").decode()
            for part in parts
            if not isinstance(part, str)
        }
    if kind.startswith("application/json") and request.body:
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in json.loads(request.body).items()}
    return dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))


def _render(result: Any) -> Response:
    status, body = result if isinstance(result, tuple) else (200, result)
    if isinstance(body, str):
        return Response(status, body.encode())
    text = json.dumps(body, indent=4, default=str)
    return Response(status, text.encode(), "application/json; charset=utf-8")
