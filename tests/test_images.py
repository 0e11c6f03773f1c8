"""How far boot images are, from tables as MAAS has them in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_postgresql import REQUIRED, Server, settings

from maas_init import images, pxe, surroundings
from maas_init.database import Connection
from maas_init.listen.publish import STALLED_AFTER, Publisher
from maas_init.paths import Paths
from maas_init.pxe import Import
from maas_init.settings import Settings

TABLES = """
CREATE TABLE maasserver_node (id bigserial PRIMARY KEY, system_id text NOT NULL);
CREATE TABLE maasserver_bootresourcefile (id bigserial PRIMARY KEY, size bigint NOT NULL);
CREATE TABLE maasserver_bootresourcefilesync (
    id bigserial PRIMARY KEY, size bigint NOT NULL, file_id bigint NOT NULL, region_id bigint NOT NULL,
    UNIQUE (file_id, region_id));
INSERT INTO maasserver_node (system_id) VALUES ('here'), ('there');
"""


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    server = Server()
    try:
        server.start()
        with server.superuser() as connection:
            connection.execute(TABLES)
            yield connection
    finally:
        server.remove()


def test_nothing_is_to_come_before_maas_knows_of_any(connection: Connection) -> None:
    found = images.count(connection, "here")
    assert found == Import(0, 0, 0, 0)
    assert found.complete and found.percent == 0


def test_what_counts_is_what_this_region_has(connection: Connection) -> None:
    connection.execute("INSERT INTO maasserver_bootresourcefile (size) VALUES (100000000), (900000000), (5000000)")
    connection.execute(
        "INSERT INTO maasserver_bootresourcefilesync (file_id, region_id, size)"
        " VALUES (1, 1, 100000000), (2, 1, 300000000), (2, 2, 900000000), (3, 2, 5000000)"
    )
    here, there = images.count(connection, "here"), images.count(connection, "there")
    assert here == Import(files=1, of_files=3, megabytes=400, of_megabytes=1005)
    assert (here.complete, here.percent) == (False, 39)
    assert there == Import(files=2, of_files=3, megabytes=905, of_megabytes=1005)
    assert images.count(connection, "elsewhere").files == 0

    connection.execute("UPDATE maasserver_bootresourcefilesync SET size = 900000000 WHERE file_id = 2")
    connection.execute("INSERT INTO maasserver_bootresourcefilesync (file_id, region_id, size) VALUES (3, 1, 5000001)")
    assert images.count(connection, "here").complete
    assert images.count(connection, "here").megabytes == 1005, "never more than there is"


@pytest.fixture
def box_of_files(tmp_path: Path) -> Paths:
    """A region's files while images come; nobody answers as its database."""
    where = Paths(tmp_path)
    storage = where.maas_data / "image-storage"
    (storage / "bootloaders/uefi").mkdir(parents=True)
    (storage / "1234.incomplete").touch()
    where.maas_id.write_text("here\n")
    return where


def test_a_database_that_does_not_answer_says_nothing(box_of_files: Paths) -> None:
    assert images.ask(settings().database, box_of_files) is None


def test_what_was_known_stays_while_the_database_is_away(box_of_files: Paths) -> None:
    region = Settings.from_environ(REQUIRED)
    coming = Import(1, 3, 400, 1005)
    assert surroundings.look(box_of_files, region).importing is None
    before = pxe.Surroundings(imported=False, bridged=False, importing=coming)
    found = surroundings.look(box_of_files, region, before)
    assert (found.importing, found.imported) == (coming, False)


def test_import_is_told_until_all_is_there_or_it_stands_still(
    box_of_files: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    publisher = Publisher(box_of_files, Settings.from_environ(REQUIRED))

    def noted(now: float, coming: Import | None) -> str:
        publisher.note_surroundings(pxe.Surroundings(False, False, coming), now)
        return capfd.readouterr().err.partition("maas-init ")[2].strip()

    assert noted(0, None) == ""
    assert noted(5, Import(0, 3, 10, 300)).startswith(
        "images.importing files=0 of_files=3 megabytes=10 of_megabytes=300"
    )
    assert noted(10, Import(0, 3, 11, 300)) == "", "not each byte"
    assert noted(15, Import(0, 3, 31, 300)).startswith("images.importing files=0 ")
    assert noted(20, Import(1, 3, 100, 300)).startswith("images.importing files=1 ")
    assert noted(20 + STALLED_AFTER, Import(1, 3, 100, 300)) == ""
    assert noted(21 + STALLED_AFTER, Import(1, 3, 100, 300)).startswith("images.stalled files=1 of_files=3 ")
    assert noted(22 + STALLED_AFTER, Import(1, 3, 100, 300)) == "", "once"
    assert noted(23 + STALLED_AFTER, Import(2, 3, 200, 300)).startswith("images.importing files=2 "), "it goes on"
    assert noted(24 + STALLED_AFTER, Import(3, 3, 300, 300)) == "images.imported files=3"
    assert noted(25 + STALLED_AFTER, Import(3, 3, 300, 300)) == ""
    assert noted(30 + STALLED_AFTER, Import(1, 3, 100, 300)).startswith("images.importing ")
    assert noted(31 + STALLED_AFTER, Import(0, 0, 0, 0)) == "", "nothing is wanted any more: nothing was imported"
