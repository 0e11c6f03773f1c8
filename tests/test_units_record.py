"""The build's guard against units and sudoers files that nobody has looked at."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECK = ROOT / "packages/check-units"
RECORD = ROOT / "supervisord.conf.d/units.sha256"
SIMULATOR = ROOT / "tests/simulator"


def check(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [str(CHECK), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What the simulator's packages install."""
    for package in (SIMULATOR / "packages").glob("*/root"):
        shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_record_of_the_simulator_is_that_of_its_packages(installed: Path) -> None:
    assert check("--record", installed).stdout == (SIMULATOR / "units.sha256").read_text()
    assert check(installed, SIMULATOR / "units.sha256").returncode == 0


def append(file: Path) -> None:
    with file.open("a") as stream:
        stream.write("Environment=NEW=1\n")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("lib/systemd/system/maas-rackd.service", append, "maas-rackd.service has changed"),
        ("lib/systemd/system/maas-new.service", append, "maas-new.service is new"),
        ("lib/systemd/system/maas-new.timer", append, "maas-new.timer is new"),
        ("lib/systemd/system/temporal-new.service", append, "temporal-new.service is new"),
        ("lib/systemd/system/maas-agent.service", Path.unlink, "maas-agent.service is gone"),
        ("etc/sudoers.d/99-maas-sudoers", append, "99-maas-sudoers has changed"),
        ("etc/sudoers.d/99-maas-new-sudoers", append, "99-maas-new-sudoers is new"),
    ],
)
def test_what_is_not_as_recorded_fails_with_its_name(
    installed: Path, name: str, change: Callable[[Path], None], told: str
) -> None:
    change(installed / name)
    done = check(installed, SIMULATOR / "units.sha256")
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("check-units: ") == 2, "nothing else is"


def test_comments_do_not_count(installed: Path) -> None:
    with (installed / "lib/systemd/system/maas-rackd.service").open("a") as stream:
        stream.write("\n# a comment\n   \n")
    assert check(installed, SIMULATOR / "units.sha256").returncode == 0


def recorded(file: Path) -> set[str]:
    return {line.split()[1] for line in file.read_text().splitlines()}


def test_every_recorded_unit_has_a_service_file_and_the_simulator_has_them_all() -> None:
    assert recorded(RECORD) == recorded(SIMULATOR / "units.sha256")
    units = set()
    for file in (ROOT / "supervisord.conf.d").glob("*.conf"):
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
        parser.read(file)
        units |= {parser[title].get("unit", "") for title in parser}
    assert {name.removesuffix(".service") for name in recorded(RECORD) if name.endswith(".service")} <= units


def test_the_build_asks_the_guard() -> None:
    assert '/tmp/packages/check-units "$units"' in (ROOT / "Dockerfile").read_text()
