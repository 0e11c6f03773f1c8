"""An upgrade dumps the database before, a restore undoes it, and an image that is too old refuses."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import Container, docker

pytestmark = pytest.mark.container

MIGRATION = "/etc/maas-simulator/migrations/0331_next.py"
TEXT = """from maasserver.simulated_migration import step

Migration = step("maasserver", "0331_next", after="0330_bootresourcefile_filename_on_disk")
"""


def set_version(maas: Container, version: str) -> None:
    """Make dpkg's records those of another version of MAAS, as in another image."""
    script = f"/^Package: maas-region-api$/,/^$/s/^Version: .*/Version: {version}/"
    maas.execute("sed", "-i", script, "/var/lib/dpkg/status", user="0")


def restart(maas: Container) -> str:
    """Stop and start; return what the second life says until it is healthy."""
    before = maas.logs()
    docker("stop", maas.name)
    docker("start", maas.name)
    maas.until_healthy()
    return maas.logs().removeprefix(before)


def test_upgrade_restore_and_refusal(new: Run) -> None:
    maas = new().run()
    maas.until_healthy()
    maas.sql("CREATE TABLE keepsake AS SELECT 'before' AS word; ALTER TABLE keepsake OWNER TO maas")
    assert "no dump" in maas.execute("maas-init", "restore")

    # A newer image.
    maas.execute("mkdir", "-p", MIGRATION.rpartition("/")[0])
    maas.execute("sh", "-c", f"cat > {MIGRATION}", stdin=TEXT)
    set_version(maas, "1:3.5.99-0ubuntu1")
    told = restart(maas)
    assert "backup.made" in told
    assert "pending=1" in told
    assert maas.sql("SELECT count(*) FROM django_migrations WHERE name = '0331_next'").strip() == "1"
    assert maas.sql("SELECT word FROM keepsake").strip() == "before"

    # Back to the dump, in the running container; the image upgrades it again.
    maas.sql("UPDATE keepsake SET word = 'after'")
    assert "1_3.5.99" in maas.execute("maas-init", "restore")
    users = maas.sql("SELECT id, username FROM auth_user ORDER BY id")
    assert "kept as maasdb_before_restore" in maas.execute("maas-init", "restore", "latest")
    assert maas.status()["services"]["regiond"]["level"] != "ready", "it waits for the upgrade of what was restored"
    maas.until_healthy()
    assert maas.sql("SELECT count(*) FROM django_migrations WHERE name = '0331_next'").strip() == "1"
    assert maas.sql("SELECT word FROM keepsake").strip() == "before"
    assert maas.sql("SELECT id, username FROM auth_user ORDER BY id") == users

    # The old image again.
    maas.execute("rm", MIGRATION)
    set_version(maas, "1:3.5.13-0ubuntu1")
    docker("stop", maas.name)
    docker("start", maas.name)
    assert maas.wait() == 78
    told = maas.logs()[-6000:]
    assert "maasserver.0331_next; nothing was changed" in told
    assert "run the newer image again" in told
