"""API keys of users."""

from __future__ import annotations

import time

from piston3.models import Consumer, Token

from .random_keys import random_text


def create(user, name: str = "MAAS consumer") -> Token:
    """A consumer with an empty secret, and its token."""
    consumer = Consumer.objects.create(user=user, name=name, key=random_text(18), secret="", status="accepted")
    return Token.objects.create(
        user=user,
        consumer=consumer,
        key=random_text(18),
        secret=random_text(32),
        token_type=2,
        is_approved=True,
        timestamp=int(time.time()),
    )


def key(token: Token) -> str:
    return f"{token.consumer.key}:{token.key}:{token.secret}"
