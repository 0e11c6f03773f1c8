"""MAAS's API, as people's programs use it."""

from __future__ import annotations

import json
import secrets
import time
import urllib.parse
import urllib.request
from typing import Any

from .docker import ADMIN_PASSWORD, Container


class Api:
    """MAAS's HTTP API, as its administrator (OAuth 1.0, PLAINTEXT)."""

    def __init__(self, maas: Container, password: str = ADMIN_PASSWORD) -> None:
        self._base = f"http://{maas.port('5240/tcp')}/MAAS"
        self._token = self._send("POST", "/accounts/authenticate/", {"username": "admin", "password": password}, {})

    def __call__(self, method: str, path: str, **form: Any) -> Any:
        facts = {
            "oauth_version": "1.0",
            "oauth_signature_method": "PLAINTEXT",
            "oauth_consumer_key": self._token["consumer_key"],
            "oauth_token": self._token["token_key"],
            "oauth_signature": "&" + self._token["token_secret"],
            "oauth_timestamp": str(int(time.time())),
            "oauth_nonce": secrets.token_hex(8),
        }
        words = ", ".join(f'{name}="{urllib.parse.quote(value, safe="")}"' for name, value in facts.items())
        return self._send(method, f"/api/2.0/{path}", form, {"Authorization": f"OAuth {words}"})

    def _send(self, method: str, path: str, form: dict[str, Any], headers: dict[str, str]) -> Any:
        body = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(self._base + path, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text  # a sentence
