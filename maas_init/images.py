"""How far MAAS's import of boot images is, as its own tables say: what this region has of what it is to have."""

from __future__ import annotations

from .errors import DatabaseUnavailable
from .paths import Paths
from .pxe import Import
from .settings import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .database import Connection

# MAAS's workers note how much of a file has come every few seconds (MAAS: maasserver/workflow/bootresource.py).
QUERY = """
SELECT count(*) FILTER (WHERE here >= size), count(*), coalesce(sum(least(here, size)), 0), coalesce(sum(size), 0)
FROM (
    SELECT file.size, coalesce(max(sync.size), 0) AS here
    FROM maasserver_bootresourcefile AS file
    LEFT JOIN (
        maasserver_bootresourcefilesync AS sync
        JOIN maasserver_node AS region ON region.id = sync.region_id AND region.system_id = %s
    ) ON sync.file_id = file.id
    GROUP BY file.id
) AS files
"""


def ask(database: Database, where: Paths, within: float = 5.0) -> Import | None:
    """Return how far it is; None where the database or this region does not say."""
    import psycopg  # takes long to load, and the start is not to wait for it

    from . import database as server

    try:
        region = where.maas_id.read_text(encoding="ascii").strip()
        with server.connect(database, where, within=within) as connection:
            return count(connection, region)
    except (OSError, ValueError, DatabaseUnavailable, psycopg.Error):
        return None  # a check of its own says what is wrong with the database


def count(connection: Connection, region: str) -> Import:
    """Return how much of its files the region with this system id has."""
    row = connection.execute(QUERY, (region,)).fetchone()
    assert row is not None
    files, of_files, here, size = map(int, row)
    return Import(files, of_files, here // 1_000_000, size // 1_000_000)
