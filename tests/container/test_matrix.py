"""Ways to start a container: each pair of choices here, all of them with `make matrix`, which writes the table."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .docker import ports_of_this_machine, postgres_image
from .matrix import CELLS, PAGE, USERS, Cell, Ground, Seen, covering, row
from .matrix import page as written

pytestmark = pytest.mark.container

ALL = os.environ.get("MAAS_INIT_MATRIX") == "all"
CHOSEN = CELLS if ALL else covering(CELLS)


@pytest.fixture(scope="module")
def ground(image: str, network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(image, network, postgres_image(image), tmp_path_factory.mktemp("ground"))
    yield ground
    ground.close()


@pytest.fixture(scope="module")
def found(ground: Ground) -> dict[Cell, Seen]:
    found = ground.look_at_all(CHOSEN, side_by_side=2)
    if ALL and not any(seen.wrong() for seen in found.values()):
        PAGE.write_text(written(found))
    return found


@pytest.mark.parametrize("cell", CHOSEN, ids=" ".join)
def test_every_way_to_start_it_is_as_the_table_says(found: dict[Cell, Seen], cell: Cell) -> None:
    seen = found[cell]
    assert not seen.wrong(), seen
    assert row(cell, seen) in PAGE.read_text().splitlines(), seen


def test_the_table_has_every_way_once() -> None:
    lines = PAGE.read_text().splitlines()
    for cell in CELLS:
        assert len([line for line in lines if line.startswith(f"| {' | '.join(cell)} |")]) == 1, cell
    assert len([line for line in lines if line.startswith(tuple(f"| {user} |" for user in USERS))]) == len(CELLS)


@pytest.mark.parametrize("user", ["568", "0", "1234:0"])
def test_on_this_machine_s_own_network_it_is_as_the_table_says(ground: Ground, user: str) -> None:
    cell = Cell(user, "ALL dropped, three added", "may gain", "host", "read-only")
    with ports_of_this_machine(all_of_them=True):
        seen = ground.seen(ground.container(cell, "host"))
    assert not seen.wrong(), seen
    assert row(cell, seen) in PAGE.read_text().splitlines(), seen
