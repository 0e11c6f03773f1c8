"""What makes this MAAS a simulator: it says so, and it has switches.

A switch is a file under /etc/maas-simulator/ (see README.md of the simulator);
its text is its value. MAAS_SIM_<NAME> in the environment does the same.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("MAAS_SIMULATOR_DIR", "/etc/maas-simulator"))
NOTICE = "this is the maas-init simulator of MAAS 3.5, test equipment, not MAAS"


def switch(name: str) -> str | None:
    """The text of a switch, or None when it is off."""
    variable = "MAAS_SIM_" + name.upper().replace("-", "_")
    if variable in os.environ:
        return os.environ[variable]
    try:
        return (FOLDER / name).read_text().strip()
    except OSError:
        return None


def number(name: str, default: float) -> float:
    text = switch(name)
    return float(text) if text else default


def misbehave(daemon: str) -> None:
    """What every daemon can be told: <daemon>-exits, <daemon>-ignores-sigterm."""
    if switch(f"{daemon}-ignores-sigterm") is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if switch(f"{daemon}-exits") is not None:
        time.sleep(0.2)
        print(f"{daemon}: [error] simulated: it exits at every start", flush=True)
        sys.exit(int(number(f"{daemon}-exits", 1)))
