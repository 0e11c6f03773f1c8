"""Where the command begins: process 1 hears SIGTERM before anything else.

The kernel drops signals to process 1 that have no handler, so whatever is imported first is time in which `docker stop`
is not heard. That is why this module imports next to nothing.
"""

from __future__ import annotations

import os
import sys

from . import signals


def main() -> int:
    """Entry point of the `maas-init` command."""
    init = sys.argv[1:] in ([], ["run"])
    if init:
        signals.hear()
    try:
        from .cli import main as command_line

        code = command_line()
    except signals.Stopped as reason:
        print(f"maas-init: stopped by {reason} before anything was running", file=sys.stderr, flush=True)
        return 0
    if init:
        # Everything has been said, and whoever stops the container waits: Python need not tidy up first.
        os._exit(code)
    return code
