"""A database that takes no connection without TLS, nor from clients without a certificate: everything reaches it."""

from __future__ import annotations

import fnmatch
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Run
from .docker import POSTGRES_PASSWORD, Container, docker, postgres_beside, until
from .test_secrets import places, planted_in_files

pytestmark = pytest.mark.container

SERVER = f"db-{secrets.token_hex(4)}"


def openssl(directory: Path, *argv: str) -> None:
    subprocess.run(("openssl", *argv), cwd=directory, check=True, capture_output=True)


def authority(directory: Path, name: str) -> None:
    """Make an authority of the name."""
    pair = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *pair, "-subj", f"/CN={name}", "-days", "90")


def certificate(directory: Path, name: str, host: str) -> None:
    """Make a certificate for a host that the authority `ca` signs."""
    pair = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", *pair, "-subj", f"/CN={host}")
    (directory / "extensions").write_text(f"subjectAltName=DNS:{host}\n")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "90", "-extfile", "extensions")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signer)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an authority, another one, and certificates of the first."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "stranger"):
        authority(directory, name)
    certificate(directory, "server", SERVER)
    certificate(directory, "client", "maas")
    for file in directory.iterdir():
        file.chmod(0o644)  # as Docker hands out secrets: to everybody in the container
    for each in (directory, *directory.parents):
        if each.stat().st_mode & 0o005 != 0o005 and each.name != "tmp":
            each.chmod(each.stat().st_mode | 0o055)
    return directory


@pytest.fixture(scope="module")
def database(image: str, network: str, tls: Path) -> Iterator[str]:
    options = ("--network-alias", "other-name", "--volume", f"{tls}:/tls:ro")
    with postgres_beside(image, network, *options, name=SERVER) as server:
        yield server


def secrets_of(tls: Path, root: str = "ca") -> list[str]:
    """Return options that mount the three as Compose mounts secrets."""
    mounted = {"postgres_sslrootcert": f"{root}.crt", "postgres_sslcert": "client.crt", "postgres_sslkey": "client.key"}
    return [word for name, file in mounted.items() for word in ("--volume", f"{tls / file}:/run/secrets/{name}:ro")]


def note_connections(database: str) -> None:
    """Have the server write a line into its log for every connection, however short."""
    statements = ("-c", "ALTER SYSTEM SET log_connections = on", "-c", "SELECT pg_reload_conf()")
    asked = ("psql", "-qAtX", "-h", "/run/postgresql", "-U", "maas", "-d", "maasdb", *statements)
    docker("exec", "--env", f"PGPASSWORD={POSTGRES_PASSWORD}", database, *asked)


def connections(database: str) -> dict[str, set[bool]]:
    """Return for every program that has connected over the network whether it did so encrypted."""
    found: dict[str, set[bool]] = {}
    authorized = re.compile(r"connection authorized: user=maas database=maasdb application_name=(maas-[a-z]+)(.*)")
    for program, rest in authorized.findall(docker("logs", database)):
        found.setdefault(program, set()).add("SSL enabled" in rest)
    return found


def test_everything_reaches_a_database_that_demands_tls(new: Run, database: str, tls: Path) -> None:
    options = ("--user", "568:568", *secrets_of(tls))
    maas = new(*options, POSTGRES_HOST=database, POSTGRES_SSLMODE="verify-full").run()

    maas.until_healthy()

    note_connections(database)
    maas.execute("supervisorctl", "restart", "regiond")
    until(lambda: {"maas-regiond", "maas-init"} <= connections(database).keys(), "the region and the listener")
    maas.until_healthy()
    assert set().union(*connections(database).values()) == {True}
    services = maas.status()["services"]
    for name in ("database", "regiond", "apiserver", "temporal"):
        assert services[name]["level"] == "ready"
    written = maas.execute("cat", "/run/maas-init/temporal/production.yaml")
    assert "enableHostVerification: true" in written
    assert maas.execute("stat", "-c", "%a %U", "/run/maas-init/temporal/production.yaml").split() == ["600", "maas"]
    key = (tls / "client.key").read_text().splitlines()[1]
    found = {path for _, _, path in planted_in_files(maas, {"POSTGRES_SSLKEY": key})}
    assert "/run/maas-init/postgresql-tls/sslkey.pem" in found, "the search looked nowhere"
    for path in found:
        assert any(fnmatch.fnmatchcase(path, place) for place in places("POSTGRES_SSLKEY")), path
    assert key not in maas.logs()
    assert "before-" not in (saved := maas.execute("maas-init", "backup"))
    assert ".dump" in saved
    maas.execute("maas-init", "restore", "--no-backup", "latest")
    maas.until_healthy()


@pytest.mark.parametrize(
    ("root", "host", "told"),
    [("stranger", SERVER, "certificate verify failed"), ("ca", "other-name", "does not match host name")],
    ids=["stranger", "other name"],
)
@pytest.mark.usefixtures("database")
def test_a_server_that_is_somebody_else_is_refused_with_the_reason(
    new: Run, tls: Path, root: str, host: str, told: str
) -> None:
    quick = {"MAAS_INIT_DATABASE_ATTEMPTS": "2", "MAAS_INIT_DATABASE_INTERVAL": "0.2"}
    maas: Container = new(*secrets_of(tls, root), POSTGRES_HOST=host, POSTGRES_SSLMODE="verify-full", **quick).run()

    assert maas.wait() == 75
    assert "the two cannot agree on TLS" in maas.logs()
    assert told in maas.logs()
    assert "check POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT" in maas.logs()
