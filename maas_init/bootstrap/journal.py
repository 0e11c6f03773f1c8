"""What bootstrap finished, so that the next start need not ask MAAS's programs, which take seconds each.

    {"schema": FINGERPRINT, "settings": {"deployment": IDENTITY, "applied": {NAME: DIGEST, ...}, "refused": {...}},
     "version": VERSION, "upgrade": {"to": VERSION, "of": DATABASE}}

An entry is written after the work it tells of; each names the state of the database that it speaks of, so that it
counts for nothing when that is another one: emptied, or on another server. Besides it says which version of MAAS was
here last, and which upgrade was begun and not finished.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .. import files
from ..paths import Paths


def read(paths: Paths) -> dict[str, Any]:
    """Return the journal; empty when there is none or it cannot be read, which only costs time."""
    found = files.read_json(paths.journal)
    return found if isinstance(found, dict) else {}


def note(paths: Paths, **entries: Any) -> None:
    """Add or replace entries."""
    files.write_json(paths.journal, read(paths) | entries, mode=0o600)


def digest(value: Any) -> str:
    """Return a fingerprint of `value`, which itself may be secret."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
