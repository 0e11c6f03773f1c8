"""What supervisord hears from its event listener."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

STRAY = """
import os, subprocess, sys
from maas_init.listen import events
protocol = events.take_stdout()
print("a stray line")
sys.stdout.write("another")
sys.stdout.flush()
os.write(1, b"one past Python")
subprocess.run(["echo", "one of a child"])
os.write(protocol.answers, b"READY\\n")
"""


def test_stray_output_of_whatever_kind_does_not_reach_supervisord() -> None:
    done = subprocess.run([sys.executable, "-c", STRAY], capture_output=True, text=True, check=True)
    assert done.stdout == "READY\n"
    for line in ("a stray line", "another", "one past Python", "one of a child"):
        assert line in done.stderr
