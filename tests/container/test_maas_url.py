"""An address for machines that leads nowhere is told, and nothing else suffers."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import until

pytestmark = pytest.mark.container


def test_maas_url_that_cannot_be_reached_from_inside_is_said(new: Run) -> None:
    maas = new(MAAS_URL="http://192.0.2.1:5240/MAAS").run()  # an address that nobody has (RFC 5737)
    until(lambda: maas.status()["level"] == "degraded", "degraded")
    until(lambda: "http://192.0.2.1:5240/MAAS: " in maas.status()["services"]["maas-url"]["why"], "the reason")
    until(lambda: maas.health() == "healthy", "healthy: MAAS itself works")
