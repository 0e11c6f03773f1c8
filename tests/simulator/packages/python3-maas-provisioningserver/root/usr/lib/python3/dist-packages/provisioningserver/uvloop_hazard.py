"""The defect that regiond and rackd have when uvloop can be imported.

Observed with real MAAS 3.5.13: uvloop takes the signal wake-up away, exits of
child processes get lost, and SIGTERM is never acted upon. Only the two daemons
arm this; whoever makes `import uvloop` fail for them is safe.
"""

from __future__ import annotations

import signal

_armed = False


def arm() -> bool:
    """Called by a daemon's start: is the hazard here?"""
    global _armed
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    _armed = True
    signal.signal(signal.SIGTERM, lambda *_: None)
    return True


def present() -> bool:
    return _armed
