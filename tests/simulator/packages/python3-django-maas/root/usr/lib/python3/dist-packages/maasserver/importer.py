"""Boot images: the import that would start at once, and every hour.

Nothing is fetched. That an import began is a log line and a row in
maas_simulator_import, so that a test can see that none did. With the switch
import-files so many files of zeros grow, on the disk and in the tables that say
how far they are.
"""

from __future__ import annotations

import threading
import time

from provisioningserver import paths, simulation
from provisioningserver.log import log, maaslog

from . import database

terse = log("maasserver.bootresources")

SIZE, STEPS = 100_000_000, 5
"""Bytes of a file, and the steps in which it comes."""


def run(every: float = 3600.0) -> None:
    forever = threading.Event()
    while True:
        try:
            with database.transaction() as cursor:
                wanted = database.get_config(cursor, "boot_images_auto_import")
            if wanted:
                start()
            else:
                terse.info("Skipping periodic import of boot resources: it is disabled.")
        except Exception as error:
            terse.error("Importing boot resources failed: %s", error)
        forever.wait(every)


def start() -> None:
    """Hold the lock of imports for a while, in a connection of its own."""
    terse.info("Started importing boot images (simulated).")
    maaslog("import-images").info("Started importing of boot images from 1 source(s).")
    connection = database.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(20120116, %s)", (database.IMPORT_IMAGES,))
        cursor.execute("INSERT INTO maas_simulator_import DEFAULT VALUES RETURNING id")
        number = cursor.fetchone().id
    seconds = simulation.number("import-seconds", 5.0)
    if files := int(simulation.number("import-files", 0)):
        _grow(connection, files, seconds)
    else:
        time.sleep(seconds)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE maas_simulator_import SET finished = now() WHERE id = %s", (number,))
    connection.close()
    terse.info("Finished importing boot images (simulated).")


def _grow(connection, files: int, seconds: float) -> None:
    """Rows for all files first, then one file after another, in steps; boot loaders at the end."""
    storage = paths.data("image-storage")
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM maasserver_node WHERE system_id = %s", (paths.data("maas_id").read_text().strip(),)
        )
        region = cursor.fetchone().id
        cursor.execute(
            "INSERT INTO maasserver_bootresourcefile (filename, filename_on_disk, size)"
            " SELECT 'simulated-' || n, md5(n::text), %s FROM generate_series(1, %s) AS n"
            " RETURNING id, filename_on_disk",
            (SIZE, files),
        )
        rows = cursor.fetchall()
    for row in rows:
        whole = storage / row.filename_on_disk
        partial = whole.with_suffix(".incomplete")
        for step in range(1, STEPS + 1):
            # Its whole size at once, without its blocks, as MAAS does.
            with partial.open("ab") as stream:
                stream.truncate(SIZE)
            time.sleep(seconds / files / STEPS)
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO maasserver_bootresourcefilesync (file_id, region_id, size) VALUES (%s, %s, %s)"
                    " ON CONFLICT (file_id, region_id) DO UPDATE SET size = excluded.size",
                    (row.id, region, SIZE * step // STEPS),
                )
        partial.rename(whole)
    loaders = storage / "bootloaders/uefi/amd64"
    loaders.mkdir(parents=True, exist_ok=True)
    (loaders / "bootx64.efi").write_bytes(b"simulated")


def running(cursor) -> bool:
    cursor.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 20120116 AND objid = %s",
        (database.IMPORT_IMAGES,),
    )
    return cursor.fetchone() is not None
