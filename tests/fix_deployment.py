"""A deployment for tests of the first steps: a container's files, a real PostgreSQL, and scripts for MAAS."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fix_postgresql import Server, as_server_user, settings

from maas_init import bootstrap, database
from maas_init.bootstrap import reach
from maas_init.database import Connection
from maas_init.settings import RegionSettings


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.remove()


class Deployment:
    """A container's files and database, and the MAAS that is installed there."""

    def __init__(self, server: Server) -> None:
        self.paths = server.paths
        self._python = server.root / "python3"
        if not self._python.exists():
            script = Path(__file__).with_name("fake_maas.py").read_text()
            self._python.write_text(f"#!{sys.executable}\n{script}")
            self._python.chmod(0o755)
        self.dpkg("1:3.5.13-0ubuntu1")
        bind = self.paths.at("/etc/bind")
        (bind / "maas").mkdir(parents=True, exist_ok=True)
        # As MAAS's packages leave them.
        (bind / "named.conf.local").write_text('include "/etc/bind/maas/named.conf.maas";\n')
        (bind / "named.conf.options").write_text(
            'options {\n    include "/etc/bind/maas/named.conf.options.inside.maas";\n};\n'
        )

    def dpkg(self, version: str) -> None:
        status = self.paths.at("/var/lib/dpkg/status")
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(f"Package: maas-region-api\nVersion: {version}\n\n")

    def start(self, **environ: str) -> list[str]:
        """Run bootstrap as at the start of a container; return the commands of MAAS that it used."""
        before = len(self.calls())
        wanted = settings(**environ)
        with as_server_user():  # role and database need the superuser, who is whoever runs the server
            reach.database(wanted, self.paths).close()
        bootstrap.run(self.settings(**environ), self.paths, python=os.fspath(self._python))
        return [call["argv"][2] for call in self.calls()[before:]]

    def settings(self, **environ: str) -> RegionSettings:
        """Return the settings with which the server, by its socket, is one like any other."""
        return settings(**environ | {"POSTGRES_HOST": os.fspath(self.paths.postgresql_socket)})

    def calls(self) -> list[dict[str, Any]]:
        file = self.paths.maas_data / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def fails(self, command: str, words: str) -> Path:
        switch = self.paths.maas_data / f"fail-{command}"
        switch.write_text(words)
        return switch

    def query(self, text: str, **environ: str) -> list[tuple[Any, ...]]:
        with self.connect(**environ) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def connect(self, **environ: str) -> Connection:
        return database.connect(settings(**environ).database, self.paths)

    def regiond_conf(self) -> Any:
        return yaml.safe_load(self.paths.regiond_conf.read_text())


@pytest.fixture
def deployment(server: Server) -> Iterator[Deployment]:
    yield Deployment(server)
    with server.superuser() as superuser:
        for name in ("maasdb", "other"):
            superuser.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        superuser.execute("DROP ROLE IF EXISTS maas")
    kept = (server.paths.postgresql, server.paths.maas_data)
    for path in (*server.paths.maas_data.iterdir(), server.paths.maas_etc, server.paths.at("/etc/bind")):
        if path not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    server.paths.maas_etc.mkdir()
