"""Random letters and digits for API keys."""

import secrets
import string

_LETTERS = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
