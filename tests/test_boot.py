"""Boot: what others left in the volumes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maas_init import boot
from maas_init.paths import Paths
from maas_init.privileges import Privileges

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody who may not read root's files; these tests run as root."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def volume() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mi-", dir="/tmp") as name:
        volume = Path(name)
        (volume / "http").mkdir()
        (volume / "image-storage").mkdir()
        for directory in (volume, volume / "http", volume / "image-storage"):
            directory.chmod(0o755)
            os.chown(directory, NOBODY, NOBODY)
        yield volume


def test_what_root_left_becomes_ours_and_the_rest_is_told(volume: Path, capfd: pytest.CaptureFixture[str]) -> None:
    readable, private, image = volume / "http/site.conf", volume / "private", volume / "image-storage/image"
    for file in (readable, private, image):
        file.write_text("content")
        file.chmod(0o600 if file is private else 0o644)
    (volume / "link").symlink_to("/etc/passwd")
    mine = volume / "mine"
    mine.write_text("mine")
    os.chown(mine, NOBODY, os.getegid())
    before = mine.stat().st_ino

    with as_nobody():
        foreign = sorted(boot.foreign(volume))
        assert foreign == [readable, private]
        boot._take_over(foreign)

    assert (readable.stat().st_uid, readable.read_text(), readable.stat().st_mode & 0o777) == (NOBODY, "content", 0o644)
    assert (private.stat().st_uid, image.stat().st_uid, mine.stat().st_ino) == (0, 0, before)
    assert not list(volume.rglob(".*")), "nothing temporary is left"
    told = capfd.readouterr().err
    assert "files.taken_over files=1" in told
    assert f"files.foreign files=1 examples={private}" in told
    assert f"chown {NOBODY}:" in told


@pytest.mark.parametrize(("name", "warned"), [("3f2a9c01b7de", True), ("maas", False), ("3f2a9c01b7de.example", False)])
def test_host_name_that_docker_made_up_is_warned_of(name: str, warned: bool, capfd: pytest.CaptureFixture[str]) -> None:
    boot._look_at_host_name(name)
    assert ("hostname.made_up" in capfd.readouterr().err) is warned


def test_all_volumes_that_cannot_be_written_are_told_before_anything_is() -> None:
    with tempfile.TemporaryDirectory(prefix="mi-", dir="/tmp") as name:
        where = Paths(Path(name))
        where.root.chmod(0o755)
        for volume in where.volumes:
            volume.mkdir(parents=True)
        where.maas_logs.chmod(0o777)
        with as_nobody(), pytest.raises(boot.NotWritable) as caught:
            boot.prepare(where, Privileges.look())
        those = [str(volume) for volume in where.volumes if volume != where.maas_logs]
        assert f"chown -R {NOBODY}:0 {' '.join(those)}," in str(caught.value)
        assert f"cannot write to the volumes {those[0]} of 0:0 (mode 755), " in str(caught.value)
        assert not [path for path in where.root.rglob("*") if path.is_file()]
