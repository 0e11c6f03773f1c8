"""supervisord, loaded while process 1 still writes what it is to read.

This is the `supervisord` command with one wait in it: most of its start is the loading of code, and so is most of
process 1's. Only process 1 runs it (handover.py).
"""

from __future__ import annotations

import json
import os
import sys

from supervisor import supervisord

from . import plugin  # noqa: F401 - supervisord would load it later


def main() -> None:
    """Run supervisord once process 1 says so over standard input; end when it is gone instead.

    What it says is the environment that some of the services see (a JSON object).
    """
    said = sys.stdin.read()
    if not said:
        sys.exit(1)
    os.environ.update(json.loads(said))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    supervisord.main()


if __name__ == "__main__":
    main()
