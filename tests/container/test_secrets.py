"""Planted values for every secret are found where the documentation says and nowhere else. The same for ports."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Run
from .docker import SETTINGS, Container, host_pids, postgres_beside, until
from .test_first_light import ArgumentWatch
from .test_tls import make

pytestmark = pytest.mark.container

Watched = tuple[Container, ArgumentWatch]

PAGE = (Path(__file__).parents[2] / "docs/explanation/security.md").read_text()
PLANTED = {
    "POSTGRES_PASSWORD": f"planted-{secrets.token_hex(12)}",
    "MAAS_ADMIN_PASSWORD": f"planted-{secrets.token_hex(12)}",
    "MAAS_REGION_SECRET": secrets.token_hex(24),
    "MAAS_SETTING_vcenter_password": f"planted-{secrets.token_hex(12)}",
}
KEY = "MAAS_TLS_KEY_FILE"
"""Names a file from the beginning; what is looked for is a line of that."""

SEARCH = r"""
import json, os, sys
wanted = {name: text.encode() for name, text in json.load(sys.stdin).items()}
for top, directories, names in os.walk("/"):
    if top == "/":
        directories[:] = [each for each in directories if each not in ("proc", "sys", "dev")]
    for name in names:
        path = os.path.join(top, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            continue
        for secret, text in wanted.items():
            if text in content:
                print(secret, oct(os.stat(path).st_mode & 0o7777), path)
"""


def table(heading: str) -> list[list[str]]:
    """Return the cells of the tables that follow a heading of the page, without their own headings."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


def planted_in_files(container: Container, secrets_of: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the name, the mode and the path of what is found of these secrets in any file of a container."""
    found = container.execute("python3", "-c", SEARCH, user="0", stdin=json.dumps(secrets_of)).splitlines()
    return [(secret, mode, path) for secret, mode, path in (line.split(" ", 2) for line in found)]


def places(secret: str) -> list[str]:
    """Return the patterns of files in which the page says that a secret is."""
    names = (f"`{re.sub('^MAAS_SETTING_.*', 'MAAS_SETTING_<name>', secret)}`", "all that are given")
    rows = [row for row in table("Where secrets are") if row[0] in names]
    return [row[1].strip("`") for row in rows if row[1].startswith("`/")]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the certificate of MAAS's own TLS and its key, which this user may read."""
    directory = tmp_path_factory.mktemp("tls")
    make(directory, "maas")
    os.chown(directory / "maas.key", 568, 568)
    return directory


@pytest.fixture(scope="module")
def planted(tls: Path) -> dict[str, str]:
    return PLANTED | {KEY: (tls / "maas.key").read_text().splitlines()[3]}


@pytest.fixture(scope="module", params=["embedded", "external"])
def maas(request: pytest.FixtureRequest, new: Run, image: str, network: str, tls: Path) -> Iterator[Watched]:
    """Secrets come as variables here and as files there."""
    settings = SETTINGS | PLANTED | {"POSTGRES_HOST": "embedded"}
    settings |= {"MAAS_TLS_CERT_FILE": "/run/secrets/maas.crt", KEY: "/run/secrets/maas.key"}
    options = [
        word for name in ("crt", "key") for word in ("--volume", f"{tls}/maas.{name}:/run/secrets/maas.{name}:ro")
    ]
    with contextlib.ExitStack() as stack:
        if request.param == "external":
            beside = postgres_beside(image, network, password=PLANTED["POSTGRES_PASSWORD"])
            settings["POSTGRES_HOST"] = stack.enter_context(beside)
            for name in PLANTED:
                (file := tls / name.lower()).write_text(f"{settings.pop(name)}\n")
                file.chmod(0o400)
                os.chown(file, 568, 568)
                # By the name that is looked for, or by one that is said.
                there = f"/run/secrets/{name.lower()}"
                if name.startswith(("POSTGRES", "MAAS_SETTING")):
                    there = settings[f"{name}_FILE"] = f"/run/secrets/this is {name.lower()}"
                options += ["--volume", f"{file}:{there}:ro"]
        container = new(*options, only=settings).run()
        watch = ArgumentWatch(container)
        watch.start()
        container.until_healthy()
        until(lambda: "agent" in container.processes(), "the agent, which gets the shared secret")
        container.execute("maas-init", "backup")
        watch.ended.set()
        watch.join()
        yield container, watch


def test_secrets_are_where_the_documentation_says_and_nowhere_else(maas: Watched, planted: dict[str, str]) -> None:
    container, _ = maas
    found = planted_in_files(container, planted)

    assert {secret for secret, _, _ in found} == planted.keys(), "the search looked nowhere"
    assert "/etc/maas/regiond.conf" in {path for _, _, path in found}
    for secret, mode, path in found:
        assert any(fnmatch.fnmatchcase(path, place) for place in places(secret)), f"{secret} is in {path}"
        assert not int(mode, 8) & 0o007, f"others can read {path}"


def test_secrets_are_in_the_environment_of_process_1_alone(maas: Watched, planted: dict[str, str]) -> None:
    container, _ = maas
    given = PLANTED.keys() & container.settings.keys()
    first = int(container.inspect(".State.Pid"))
    for pid in host_pids(container):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        there = {secret for secret, text in planted.items() if text.encode() in environment}
        assert there == (given if pid == first else set()), Path(f"/proc/{pid}/cmdline").read_bytes()


def test_secrets_were_in_no_argument_list(maas: Watched, planted: dict[str, str]) -> None:
    _, watch = maas
    assert any(b"dbupgrade" in line for line in watch.seen), "the watch saw nothing of the bootstrap"
    for line in watch.seen:
        assert not [secret for secret, text in planted.items() if text.encode() in line], line


def test_secrets_are_in_no_log_even_when_a_service_prints_them(maas: Watched, planted: dict[str, str]) -> None:
    container, _ = maas
    text = " ".join(PLANTED.values())
    inside = container.processes()["regiond"]
    here = [
        pid
        for pid in host_pids(container)
        if re.search(rf"^NSpid:.*\t{inside}$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    ]
    # Into the pipe of a service, as it would itself.
    Path(f"/proc/{here[0]}/fd/1").write_text(f"it says {text}.\n")
    until(lambda: f"it says {' '.join(['********'] * len(PLANTED))}." in container.logs(), "the line")

    assert not [secret for secret, text in planted.items() if text in container.logs()]
    assert not [
        secret for secret, text in planted.items() if text in container.execute("cat", "/var/log/maas/regiond.log")
    ]


def test_sockets_and_files_have_the_modes_of_the_documentation(maas: Watched) -> None:
    container, _ = maas
    rows = [row for row in table("Where secrets are") if re.fullmatch("[0-7]{3}", row[1])]
    assert len(rows) >= 8
    for path, mode, _ in rows:
        assert container.execute("stat", "-c", "%a", path.strip("`")).strip() == mode, path


def test_nothing_listens_that_is_not_documented(maas: Watched) -> None:
    container, _ = maas
    allowed = {
        (kind, port): where
        for words, where, _ in table("Ports")
        for first, last, kind in re.findall(r"(\d+)(?:-(\d+))?/(tcp|udp)", words)
        for port in range(int(first), int(last or first) + 1)
    }
    seen = set()
    for line in container.execute("ss", "-lntuH", user="0").splitlines():
        kind, _, _, _, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        if address == "127.0.0.11":  # Docker's own name server
            continue
        where = allowed.get((kind, int(port)), "")
        assert where, f"{local} ({kind}) is not in the table"
        assert where == "everywhere" or address in ("127.0.0.1", "[::1]"), f"{local} is not for inside alone"
        seen.add(int(port))
    assert {53, 69, 123, 5240, 5247, 5250, 5271, 8000} <= seen
