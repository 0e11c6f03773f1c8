from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Container
from hypothesis import settings

# The same examples every time, however slow the machine; nothing is left behind.
settings.register_profile("reproducible", database=None, deadline=None, derandomize=True)
settings.load_profile("reproducible")


@pytest.fixture
def container() -> Iterator[Container]:
    """A container of the test's own; the test describes and starts it."""
    mine = Container()
    yield mine
    mine.close()
