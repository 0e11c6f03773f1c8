"""The simulator built, unpacked and given a database, without a container."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator_rig import HERE, IS_ROOT, PYTHON, UNPRIVILEGED, FakePebble, Maas

MODULES = "import django, psycopg2, yaml"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("debs")
    subprocess.run([HERE / "build", folder], check=True, stdout=subprocess.DEVNULL)
    return {path.name.split("_")[0]: path for path in folder.glob("*.deb")}


def folder_for_everybody() -> Path:
    """Make a folder that other users may enter; pytest's own are closed again whenever another pytest begins."""
    folder = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def unpacked(packages: dict[str, Path]) -> Iterator[Path]:
    """All packages in one tree, readable for everybody."""
    root = folder_for_everybody()
    for path in packages.values():
        subprocess.run(["dpkg-deb", "-x", path, root], check=True)
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def maas(unpacked: Path, tmp_path: Path) -> Maas:
    if subprocess.run([PYTHON, "-c", MODULES], capture_output=True).returncode:
        pytest.fail(f"{PYTHON} cannot `{MODULES}` (apt-get install python3-django python3-psycopg2 python3-yaml)")
    data = tmp_path / "maas"
    for name in (
        "etc/maas",
        "etc/bind/maas",
        "etc/chrony",
        "run/lock",
        "certificates",
        "zones",
        "bin",
        "var/lib/maas/http",
        "image-storage",
        "switches",
        "tftp",
    ):
        (data / name).mkdir(parents=True)
    python_path = [unpacked / "nowhere", unpacked / "usr/lib/python3/dist-packages"]
    (data / "no-uvloop").mkdir()
    (data / "no-uvloop/uvloop.py").write_text("raise ImportError\n")
    python_path[0] = data / "no-uvloop"
    environ = {
        "PATH": f"{data}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": ":".join(map(str, python_path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(data),
        "LANG": "C.UTF-8",
        "DJANGO_SETTINGS_MODULE": "maasserver.djangosettings.settings",
        "MAAS_ROOT": str(data),
        "MAAS_PATH": str(unpacked),
        "MAAS_DATA": str(data),
        "MAAS_CACHE": str(data),
        "MAAS_PROXY_CONFIG_DIR": str(data),
        "MAAS_SYSLOG_CONFIG_DIR": str(data),
        "MAAS_ZONE_FILE_CONFIG_DIR": str(data / "zones"),
        "MAAS_SIMULATOR_DIR": str(data / "switches"),
    }
    return Maas(unpacked, data, environ)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL on a Unix socket; yields the folder of the socket."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.fail("no PostgreSQL under /usr/lib/postgresql (apt-get install postgresql)")
    folder = folder_for_everybody()
    if IS_ROOT:
        shutil.chown(folder, "nobody", "nogroup")
    tool = binaries[-1]
    options = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL, **UNPRIVILEGED}
    subprocess.run([tool / "initdb", "-D", folder / "data", "-U", "maas", "-A", "trust", "--no-sync"], **options)
    start = f"-k {folder} -c listen_addresses= -c fsync=off"
    control = [tool / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w"]
    subprocess.run([*control, "-o", start, "start"], **options)
    try:
        yield folder
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)


@pytest.fixture
def database(maas: Maas, postgresql: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """regiond.conf for a fresh database; returns a function that runs SQL in it."""
    name = f"test_{abs(hash(request.node.name)) % 10**8}"

    def sql(text: str, into: str = name) -> str:
        return subprocess.run(
            ["psql", "-X", "-At", "-h", postgresql, "-U", "maas", "-d", into, "-c", text],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    sql(f"CREATE DATABASE {name}", "postgres")
    (maas.data / "etc/maas/regiond.conf").write_text(
        f"database_host: {postgresql}\ndatabase_name: {name}\ndatabase_user: maas\n"
        "maas_url: http://127.0.0.1:5240/MAAS\nnum_workers: 2\n"
    )
    return sql


@pytest.fixture
def pebble(maas: Maas) -> Iterator[FakePebble]:
    folder = maas.data / "pebble"
    folder.mkdir()
    fake = FakePebble(folder / ".pebble.socket")
    maas.environ["PEBBLE"] = str(folder)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
