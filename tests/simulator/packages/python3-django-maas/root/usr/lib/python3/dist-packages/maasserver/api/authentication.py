"""Who asks: OAuth 1.0 with PLAINTEXT signatures, and Django's password hashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import unquote

MAXIMUM_AGE = 300.0
_PAIR = re.compile(r'(\w+)="?([^",]*)"?')


class Unauthorised(Exception):
    """No credentials, or wrong ones."""


def user(cursor, headers: Mapping[str, str], now: float | None = None):
    """The user of a request; None when it carries no credentials at all."""
    header = headers.get("Authorization") or ""
    if not header.startswith("OAuth "):
        return None
    said = {k: unquote(v) for k, v in _PAIR.findall(header.removeprefix("OAuth "))}
    if said.get("oauth_signature_method") != "PLAINTEXT":
        raise Unauthorised("Authorization Error: Invalid signature method.")
    cursor.execute(
        "SELECT u.*, t.secret AS token_secret, c.secret AS consumer_secret "
        "FROM piston3_token t JOIN piston3_consumer c ON c.id = t.consumer_id "
        "JOIN auth_user u ON u.id = t.user_id WHERE t.key = %s AND c.key = %s AND u.is_active",
        (said.get("oauth_token"), said.get("oauth_consumer_key")),
    )
    row = cursor.fetchone()
    if row is None:
        raise Unauthorised("Authorization Error: Invalid access token.")
    signature = f"{row.consumer_secret}&{row.token_secret}"
    if not hmac.compare_digest(said.get("oauth_signature", ""), signature):
        raise Unauthorised("Authorization Error: Invalid signature.")
    try:
        age = abs((now or time.time()) - int(said["oauth_timestamp"]))
    except (KeyError, ValueError):
        raise Unauthorised("Authorization Error: Missing timestamp.") from None
    if age > MAXIMUM_AGE:
        raise Unauthorised("Authorization Error: Expired timestamp.")
    return row


def by_password(cursor, username: str, password: str):
    """The user with this password, or None."""
    cursor.execute("SELECT * FROM auth_user WHERE username = %s AND is_active", (username,))
    row = cursor.fetchone()
    return row if row and password_is(row.password, password) else None


def password_is(encoded: str, password: str) -> bool:
    """Django's pbkdf2_sha256$ITERATIONS$SALT$HASH."""
    parts = encoded.split("$")
    if len(parts) != 4 or parts[0] != "pbkdf2_sha256":
        return False
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), parts[2].encode(), int(parts[1]))
    return hmac.compare_digest(base64.b64encode(made).decode(), parts[3])
