"""start_up: what every regiond process does before it is of any use.

Whatever goes wrong, it is logged and tried again after 3 s, for ever, while
the process looks alive.
"""

from __future__ import annotations

import os
import time
import uuid

import psycopg2

from provisioningserver import dpkg, files, networks, paths, simulation
from provisioningserver.log import log, maaslog

from . import certificates, config, controllers, database

terse = log("maasserver.start_up")
human = maaslog("start-up")


def start_up(master: bool) -> int:
    """Try until it works; return the id of this region's node."""
    while True:
        try:
            secret = _shared_secret()
            with database.locked(database.STARTUP) as cursor:
                node_id = _inner(cursor, master)
            files.atomic_write(secret, paths.data("secret"), mode=0o640)
            if master:
                _certificates_to_disk()
                _image_storage()
            return node_id
        except psycopg2.Error as error:
            what = f"PostgreSQL error {error.pgcode}" if error.pgcode else "error not reported"
            human.warning("Database error during start-up (%s); pausing for 3 seconds.", what)
            terse.error("Database error during start-up", exc_info=True)
        except Exception:
            human.warning("Error during start-up; pausing for 3 seconds.")
            terse.error("Error during start-up.", exc_info=True)
        time.sleep(3.0)


def _shared_secret() -> str:
    """From the database, always; made there when it is not."""
    with database.locked(database.SECURITY) as cursor:
        value = database.get_secret(cursor, "rpc-shared")
        if value is None or not value["secret"]:
            value = {"secret": os.urandom(16).hex()}
            database.set_secret(cursor, "rpc-shared", value)
        bytes.fromhex(value["secret"])
        return value["secret"]


def _inner(cursor, master: bool) -> int:
    if simulation.switch("regiond-startup-loops") is not None:
        raise RuntimeError("simulated: start_up never succeeds")
    own_id = files.read_if_present(paths.data("maas_id"))
    interfaces = networks.interfaces()
    host = controllers.hostname()
    found = controllers.find(cursor, own_id, interfaces, host)
    if len(found) > 1:
        raise controllers.MultipleObjectsReturned(f"{len(found)} nodes look like {host}")
    node = controllers.adopt_or_create(cursor, found, controllers.REGION, host)
    version = dpkg.maas_version()
    if version is None:
        raise AttributeError("'NoneType' object has no attribute 'install_type'")
    controllers.set_version(cursor, node.id, version)
    deployment = database.get_config(cursor, "uuid")
    if not deployment:
        deployment = str(uuid.uuid4())
        database.set_config(cursor, "uuid", deployment)
    files.atomic_write(node.system_id, paths.data("maas_id"), mode=0o640)
    files.atomic_write(deployment, paths.data("maas_uuid"), mode=0o640)
    if master:
        _create_system_users(cursor)
        _create_certificates(cursor)
        database.set_config(cursor, "maas_url", config.read().maas_url)
        if not database.get_secret(cursor, "omapi-key"):
            key = certificates.random_base64(64)
            database.set_secret(cursor, "omapi-key", {"secret": key})
    return node.id


def _create_system_users(cursor) -> None:
    """Users of MAAS itself. One is a superuser, which says nothing of an admin."""
    for name, superuser in (("MAAS", True), ("maas-init-node", False)):
        cursor.execute(
            "INSERT INTO auth_user (username, password, is_superuser, first_name, last_name, "
            "email, is_staff, is_active, date_joined) VALUES "
            "(%s, '!', %s, %s, 'Special user', NULL, false, %s, now()) "
            "ON CONFLICT (username) DO NOTHING",
            (name, superuser, name, superuser),
        )


def _create_certificates(cursor) -> None:
    authority = database.get_secret(cursor, "maas-ca-certificate")
    if authority is None:
        authority = certificates.authority()
        database.set_secret(cursor, "maas-ca-certificate", authority)
    if database.get_secret(cursor, "cluster-certificate") is None:
        database.set_secret(cursor, "cluster-certificate", certificates.signed(authority))


def _certificates_to_disk() -> None:
    """Only when not all three are there: old files stay."""
    names = {"cluster.key": "key", "cluster.pem": "cert", "cacerts.pem": "cacerts"}
    if all(paths.certificates(name).exists() for name in names):
        return
    with database.transaction() as cursor:
        secret = database.get_secret(cursor, "cluster-certificate")
    for name, key in names.items():
        mode = 0o600 if name == "cluster.key" else 0o644
        files.atomic_write(secret[key], paths.certificates(name), mode=mode)


def _image_storage() -> None:
    """The folder itself must be there already."""
    (paths.data("image-storage") / "bootloaders").mkdir(exist_ok=True)
