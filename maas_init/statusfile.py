"""The status file as those read it who did not write it: people's commands, and the next listener.

It may be half of another version's or somebody's own; whoever reads it here can rely on its shape.
"""

from __future__ import annotations

from types import NoneType
from typing import Any

from . import files
from .errors import MaasInitError
from .paths import Paths
from .pxe import Import

Number = float
"""A finite one that is not negative: time and counts are."""

SERVICE = {
    **dict.fromkeys(("level", "because", "why", "description", "unit", "start"), str),
    "process": (str, NoneType),
    "pid": (int, NoneType),
    "reloadable": bool,
    "capabilities": [str],
    "missing_capabilities": [str],
    **dict.fromkeys(("since", "failed", "restarts"), Number),
    "desired": {"on": bool, "owner": str, "reason": str, "at": Number, "moment": Number},
}
STATUS = {
    "schema": int,
    **dict.fromkeys(("level", "summary"), str),
    "uptime": Number,
    "services": dict,
    "pxe": {"ready": str, "reasons": [str]},
    "images": (dict.fromkeys(Import._fields, Number), NoneType),
}
LARGEST = 1 << 36
"""Of a number: in seconds, two thousand years."""


def read(where: Paths) -> dict[str, Any]:
    """Return what the file holds. Raises MaasInitError when it is missing, or not as the listener writes it."""
    found = files.read_json(where.status)
    if found is None:
        raise MaasInitError(
            f"cannot read {where.status}: the health listener has not written it yet",
            hint="look at the container's log",
        )
    if not _has(STATUS, found) or not all(_has(SERVICE, each) for each in found["services"].values()):
        raise MaasInitError(
            f"cannot read {where.status}: it is not what this version of maas-init writes",
            hint="the health listener writes it anew every few seconds; nobody else should",
        )
    return dict(found)


def services(where: Paths) -> dict[str, Any]:
    """Return what the file says of each service; nothing when it cannot be read."""
    try:
        return dict(read(where)["services"])
    except MaasInitError:
        return {}


def _has(shape: Any, value: Any) -> bool:
    """Return whether a value is of a type or of one of several, has at least these keys, or holds only such values."""
    if isinstance(shape, tuple):
        return any(_has(each, value) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_has(shape[0], each) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in value and _has(part, value[name]) for name, part in shape.items()
        )
    if shape is Number:
        return isinstance(value, (int, float)) and 0 <= value < LARGEST  # not a number is neither
    return isinstance(value, shape)
