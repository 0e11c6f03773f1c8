"""What must not be shown: secret values, hidden wherever a line passes through us.

Used for every line that any service prints, inside supervisord: it looks for a few plain strings and does nothing
else as long as none is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "********"
SHORTEST = 6
"""Characters of a value that is hidden: a shorter one would be found in half of what is printed."""


class Masks:
    """Values, and the forms in which they appear: plain, as in a URL, and as Python, JSON and a shell quote them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for line in _lines(value) for form in _forms(line)}
        # The longest first: one may be a part of another.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def found_in(self, text: str) -> bool:
        """Return whether anything in `text` has to be hidden."""
        return any(form in text for form in self._forms)

    def hide(self, text: str) -> str:
        """Return `text` without any of the values."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text


def _lines(value: str) -> list[str]:
    """Return what can be found in a line: the value, or of a key in PEM form each line that is its own."""
    return [line for line in value.splitlines() if not line.startswith("-----")]


def _forms(value: str) -> Iterable[str]:
    yield value
    for quoted in (repr(value), ascii(value), json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield quoted[1:-1]
    yield value.replace("'", "'\"'\"'")  # a shell's
    for safe in ("", "/"):
        yield quote(value, safe=safe)
        yield quote_plus(value, safe=safe)


def read(values: str, shared_secret: str) -> Masks:
    """Return what two files say is to be hidden: one written by process 1, and MAAS's own; either may be missing."""
    found: list[str] = []
    try:
        with open(values, encoding="utf-8") as stream:
            found += json.load(stream)
    except (OSError, ValueError):
        pass
    try:
        with open(shared_secret, encoding="utf-8") as stream:
            found.append(stream.read().strip())
    except (OSError, ValueError):
        pass
    return Masks(found)
