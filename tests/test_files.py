from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from maas_init import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_is_written_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert files.write(path, "text\n", mode=0o600)
    assert (path.read_text(), mode(path)) == ("text\n", 0o600)


def test_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o644


def test_unchanged_file_is_not_rewritten(tmp_path: Path) -> None:
    files.write(tmp_path / "a", "text")
    before = (tmp_path / "a").stat()
    assert not files.write(tmp_path / "a", "text")
    after = (tmp_path / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("text", "new_mode"), [("other", 0o644), ("text", 0o600)])
def test_other_content_or_mode_is_a_change(text: str, new_mode: int, tmp_path: Path) -> None:
    files.write(tmp_path / "a", "text")
    assert files.write(tmp_path / "a", text, mode=new_mode)
    assert ((tmp_path / "a").read_text(), mode(tmp_path / "a")) == (text, new_mode)


def test_file_that_is_not_text_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    assert files.write(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"


def test_reader_sees_the_old_content_or_the_new_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = {letter * 200_000 for letter in "ab"}
    files.write(path, "a" * 200_000)
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for letter in "ba":
            files.write(path, letter * 200_000, sync=False)
    done.set()
    reader.join()
    assert seen <= whole


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    files.write(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        files.write(tmp_path / "a", "new \udcff")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_directory_in_the_way_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        files.write(tmp_path / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_secret_is_never_readable_by_others_not_even_while_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o644)
    files.write(tmp_path / "a", "secret", mode=0o600)
    assert mode(tmp_path / "a") == 0o600


def test_leftover_of_a_killed_writer_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / f".a.{os.getpid()}").write_text("half")
    assert files.write(tmp_path / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": "😀\n"}
    files.write_json(tmp_path / "a", value)
    assert files.read_json(tmp_path / "a") == value
    assert json.loads((tmp_path / "a").read_text()) == value


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"\xff"])
def test_missing_or_broken_json_is_none(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert files.read_json(tmp_path / "a") is None


# Filling an empty volume.


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    packaged = tmp_path / "skeleton"
    (packaged / "http").mkdir(parents=True)
    (packaged / "http").chmod(0o750)
    (packaged / "http" / "nginx.conf").write_text("packaged")
    (packaged / "http" / "nginx.conf").chmod(0o640)
    (packaged / "link").symlink_to("http/nginx.conf")
    (packaged / "dangling").symlink_to("/nonexistent")
    (packaged / "volume").symlink_to(tmp_path)
    return packaged


def test_empty_volume_gets_everything_with_its_mode(skeleton: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    added = files.fill(skeleton, volume)
    assert sorted(path.relative_to(volume).as_posix() for path in added) == [
        *("dangling", "http", "http/nginx.conf", "link", "volume"),
    ]
    assert (volume / "http" / "nginx.conf").read_text() == "packaged"
    assert (mode(volume / "http"), mode(volume / "http" / "nginx.conf")) == (0o750, 0o640)
    assert (volume / "link").readlink() == Path("http/nginx.conf")
    assert (volume / "dangling").is_symlink()
    assert (volume / "volume").readlink() == tmp_path, "a link to a directory stays a link"


def test_what_exists_is_not_touched(skeleton: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "http").mkdir(parents=True)
    (volume / "http" / "nginx.conf").write_text("the operator's")
    (volume / "link").symlink_to("/elsewhere")
    assert [path.name for path in files.fill(skeleton, volume)] == ["dangling", "volume"]
    assert (volume / "http" / "nginx.conf").read_text() == "the operator's"
    assert (volume / "link").readlink() == Path("/elsewhere")


def test_full_volume_gets_nothing(skeleton: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    files.fill(skeleton, volume)
    assert files.fill(skeleton, volume) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_only_what_belongs_to_somebody_else_is_given_and_no_link_is_followed(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "deep/deeper").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("not ours to give")
    (volume / "directory").symlink_to(outside)
    (volume / "link").symlink_to(outside / "file")
    for name in ("mine", "deep/foreign", "deep/deeper/foreign"):
        (volume / name).write_text(name)
    (volume / "of another group").write_text("MAAS could not replace it")
    for path in (volume, volume / "mine", volume / "of another group"):
        os.chown(path, 1234, 77)
    os.chown(volume / "mine", 1234, 5678)

    assert files.give(volume, 1234, 5678) == (7, 0)

    owners = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in [volume, *volume.rglob("*")]}
    assert owners.pop("volume") == (1234, 77), "the owner was right"
    assert set(owners.values()) == {(1234, 5678)}
    assert {path.lstat().st_uid for path in (outside, outside / "file")} == {0}
    assert files.give(volume, 1234, 5678) == (0, 0)


def test_file_whose_mode_is_wrong_gets_it_without_being_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(0o600)
    before = path.stat().st_ino
    assert files.write(path, "text", mode=0o640)
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (before, 0o640)


OWN, OTHER = 0, 1


@pytest.mark.parametrize(
    ("modes", "whose", "may"),
    [
        ((0o755, 0o644), (OTHER, OTHER), True),
        ((0o755, 0o640), (OTHER, OTHER), False),
        ((0o755, 0o640), (OTHER, OWN), True),
        ((0o755, 0o600), (OWN, OTHER), True),
        ((0o755, 0o044), (OWN, OWN), False),  # the owner's modes count for the owner
        ((0o700, 0o644), (OTHER, OTHER), False),
        ((0o710, 0o644), (OTHER, OWN), True),
    ],
)
def test_modes_of_a_file_and_of_its_directories_tell_who_may_read_it(
    modes: tuple[int, int], whose: tuple[int, int], may: bool
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        secret = Path(directory, "secret")
        secret.touch()
        for path, mode in zip((secret.parent, secret), modes, strict=True):
            path.chmod(mode)
        status = secret.stat()
        assert files.may_read(secret, status.st_uid + whose[0], status.st_gid + whose[1]) is may
