from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from fix_deployment import deployment, server  # noqa: F401 - fixtures of several files
from harness import Container
from hypothesis import settings

# The same examples every time, however slow the machine; nothing is left behind.
settings.register_profile("reproducible", database=None, deadline=None, derandomize=True)
settings.load_profile("reproducible")

# A runner in the background hands ignored signals down, and a program that was started ignoring one keeps to it.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def container() -> Iterator[Container]:
    """A container of the test's own; the test describes and starts it."""
    mine = Container()
    yield mine
    mine.close()
