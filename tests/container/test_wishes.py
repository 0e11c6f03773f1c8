"""Several who want different things of one service at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

pytestmark = pytest.mark.container


def test_three_parties_at_once_end_in_the_state_that_was_asked_for_last(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()
    script = Path(__file__).with_name("three_parties.py").read_text()
    maas.execute("sh", "-c", "cat > /tmp/regiond", stdin=script)
    python = maas.execute("sh", "-c", "sed -n '1s/^#!//p' \"$(command -v maas-init)\"").strip()

    assert "200 rounds" in maas.execute(*python.split(), "/tmp/regiond")

    assert maas.logs().count("service.restarted service=apiserver ") >= 4
    for owner in ("MAAS", "operator"):
        for on in ("True", "False"):
            assert f"service.wanted service=apiserver on={on} owner={owner} " in maas.logs()
    maas.until_healthy()
