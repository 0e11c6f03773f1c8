"""What a process gives up before it becomes a service: capabilities, the way to new ones, dumps of its memory.

The plug-in calls these inside supervisord, between fork and exec of each service. ctypes is imported where it is used,
because process 1 can mostly do without it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

NUMBERS = {"net_bind_service": 10, "net_raw": 13}
"""Those of linux/capability.h that services may be given (services.CAPABILITIES)."""

_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38


def keep_capabilities(names: Iterable[str]) -> None:
    """Give up every capability but those, as far as there are any: effective, permitted, inheritable and ambient."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Twice effective, permitted, inheritable: for numbers below 32 and for the others.
    sets = (ctypes.c_uint32 * 6)()
    _must(libc.capget(header, sets), "capget")
    kept = sets[1] & sum(1 << NUMBERS[name] for name in names)
    # The kernel takes out of the ambient set what is no longer both permitted and inheritable.
    _must(libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, kept)), "capset")


def has_capabilities() -> bool:
    """Return whether there is any to give up; cheaper than giving up none."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        facts = dict(line.split(":\t", 1) for line in stream if ":\t" in line)
    return any(int(facts[key], 16) for key in ("CapPrm", "CapInh", "CapAmb"))


def forbid_new_privileges() -> None:
    """See to it that no program which this process or a child of it starts has more rights than they have."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def leave_no_core() -> None:
    """See to it that no memory of this process or of a child of it, where secrets are, is ever saved to a file.

    One byte is too little for any dump. With none at all, a host that hands dumps to a program would still do so.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def _must(answer: int, call: str) -> None:
    import ctypes

    if answer != 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
