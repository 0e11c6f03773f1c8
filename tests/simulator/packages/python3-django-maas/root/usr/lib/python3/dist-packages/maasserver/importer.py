"""Boot images: the import that would start at once, and every hour.

Nothing is fetched. That an import began is a log line and a row in
maas_simulator_import, so that a test can see that none did.
"""

from __future__ import annotations

import threading
import time

from provisioningserver import simulation
from provisioningserver.log import log, maaslog

from . import database

terse = log("maasserver.bootresources")


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
    time.sleep(simulation.number("import-seconds", 5.0))
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE maas_simulator_import SET finished = now() WHERE id = %s", (number,))
    connection.close()
    terse.info("Finished importing boot images (simulated).")


def running(cursor) -> bool:
    cursor.execute(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 20120116 AND objid = %s",
        (database.IMPORT_IMAGES,),
    )
    return cursor.fetchone() is not None
