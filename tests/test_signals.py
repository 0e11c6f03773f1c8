"""Signals before anything runs: none is lost, whenever it comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import GENEROUS

pytestmark = pytest.mark.process

READS_WHAT_NOBODY_WRITES = """
import sys
from maas_init import signals
signals.hear()
try:
    open(sys.argv[1], "rb").read()
except signals.Stopped:
    sys.exit(7)
"""


def opened(path: Path) -> int:
    """Open for writing, which works when somebody reads; else return 0."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


@pytest.mark.parametrize("delay", range(60))
def test_request_to_stop_is_heard_however_close_to_a_wait_it_comes(tmp_path: Path, delay: int) -> None:
    path = tmp_path / "silent"
    os.mkfifo(path)
    reader = subprocess.Popen([sys.executable, "-c", READS_WHAT_NOBODY_WRITES, path])
    while not (writer := opened(path)):
        pass  # `until` would look later: it is the very moment in which a wait begins that counts
    for _ in range(delay):
        pass
    reader.terminate()
    assert reader.wait(GENEROUS) == 7
    os.close(writer)
