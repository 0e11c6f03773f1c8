"""Whoever the container runs as."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .api import Api
from .conftest import Run
from .docker import POSTGRES_PASSWORD, SETTINGS, Container, docker, host_pids, until
from .test_volumes import VOLUMES, works

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]

WHO = """
import grp, os, pwd
assert pwd.getpwuid(os.geteuid()).pw_name == "maas"
print(pwd.getpwnam("maas").pw_uid, grp.getgrnam("maas").gr_gid, os.getuid(), os.getgid())
"""


def owned(uid: int, gid: int) -> list[str]:
    """Return docker's options for empty volumes that belong to this user."""
    return [w for volume in VOLUMES for w in ("--tmpfs", f"{volume}:uid={uid},gid={gid},mode=0755,exec")]


def service_sees(maas: Container, user: str = "") -> list[str]:
    """Return whom a program takes for maas with what all services get from supervisord, and as whom it runs."""
    given = maas.execute("sed", "-n", "s/^environment = //p", "/run/maas-init/supervisord.conf", user=user)
    return maas.execute("env", *given.strip().replace('"', "").split(","), "python3", "-c", WHO, user=user).split()


@pytest.mark.parametrize(
    ("uid", "gid", "options"),
    [(1234, 0, ["--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp"]), (4242, 4242, owned(4242, 4242)), (33, 0, [])],
    ids=["a new one of group 0, read-only", "one whose volumes these are", "one that the image has another name for"],
)
def test_any_user_has_the_name_maas_and_everything_runs(new: Run, uid: int, gid: int, options: list[str]) -> None:
    maas = new("--user", f"{uid}:{gid}", *options).run()
    try:
        works(maas)
        assert service_sees(maas) == [str(uid), str(gid), str(uid), str(gid)]
    finally:
        maas.remove()


def test_whoever_may_not_write_is_told_so_once_with_the_command(new: Run) -> None:
    maas = new("--user", "4242:4242").run()
    assert maas.wait() == 78
    told = maas.logs()
    assert "cannot write to the volumes /etc/maas of 568:0" in told
    assert "chown -R 4242:4242 /etc/maas /var/lib/maas /var/log/maas /tmp/maas" in told
    maas.remove()


def test_root_becomes_whom_it_is_told_and_hands_over_what_is_not_his(new: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not in the volume")
    mounted = tmp_path / "mounted"
    mounted.write_text("somebody's own")
    before = new("--user", "0").run()
    before.until_healthy()
    before.execute(
        "sh", "-c", "ln -s /mnt/elsewhere /var/lib/maas/link; mkdir /var/lib/maas/image-storage/deep", user="0"
    )
    docker("stop", before.name)
    mounts = ("--volume", f"{elsewhere}:/mnt/elsewhere", "--volume", f"{mounted}:/etc/maas/mounted")
    after = new("--user", "0", "--volumes-from", before.name, *mounts, PUID="1000", PGID="1001").run()
    after.until_healthy()
    assert service_sees(after, "1000:1001") == ["1000", "1001", "1000", "1001"]
    foreign = after.execute("find", *VOLUMES, "!", "-uid", "1000", user="0").split()
    assert foreign == ["/etc/maas/mounted"]
    assert (elsewhere.stat().st_uid, mounted.stat().st_uid) == (0, 0)
    assert "volume.given" in after.logs()

    docker("restart", after.name)
    until(lambda: after.logs().count("container.examined") == 2, "the second start")
    assert after.logs().count("volume.given") == len(VOLUMES), "at the second there is nothing to give"


def test_root_takes_secrets_along_that_only_root_may_read(new: Run, tmp_path: Path) -> None:
    """So are the files of Compose's secrets that people make with care."""
    file = tmp_path / "maas_admin_password"
    file.write_text(f"{POSTGRES_PASSWORD}\n")
    file.chmod(0o400)
    given = SETTINGS | {"POSTGRES_PASSWORD_FILE": "/run/secrets/maas_admin_password"}  # one file for two of them
    del given["MAAS_ADMIN_PASSWORD"], given["POSTGRES_PASSWORD"]
    mounted = ("--volume", f"{file}:/run/secrets/maas_admin_password:ro")
    refused = new(*mounted, only=given).run()
    assert refused.wait() == 78
    assert 'cannot be read from "/run/secrets/maas_admin_password": Permission denied' in refused.logs()
    maas = new("--user", "0", *mounted, only=given).run()
    maas.until_healthy()
    Api(maas, POSTGRES_PASSWORD)  # its administrator has this one, too
    assert "secret.taken" in maas.logs()
    copy = maas.execute("stat", "-c", "%U %a", "/run/maas-init/credentials/MAAS_ADMIN_PASSWORD", user="0")
    assert copy.split() == ["maas", "400"]
    docker("kill", "--signal", "HUP", maas.name)
    until(lambda: "reload.finished" in maas.logs(), "the reload")
    docker("restart", maas.name)
    maas.until_healthy()
    maas.remove()


@pytest.fixture
def image_of_950(image: str) -> Iterator[str]:
    name = f"{image.rpartition(':')[0]}-of-950"
    given = {"IMAGE": name, "MAAS_SOURCE": "simulator", "MAAS_UID": "950", "MAAS_GID": "951"}
    done = subprocess.run(
        [ROOT / "tests/tools/image"], env=os.environ | given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    yield name
    docker("rmi", "--force", name)


def test_image_that_was_built_for_another_user_runs_as_that(image_of_950: str, network: str) -> None:
    maas = Container(image_of_950, network).run()
    try:
        works(maas)
        assert maas.execute("python3", "-c", WHO).split() == ["950", "951", "950", "951"]
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in host_pids(maas)} == {950}
        owners = maas.execute("stat", "-c", "%u:%g", *VOLUMES, "/etc/maas/regiond.conf").split()
        assert owners == [*["950:0"] * len(VOLUMES), "950:951"]
    finally:
        maas.remove()


def test_wish_that_only_root_could_grant_is_told(new: Run) -> None:
    maas = new(PUID="1000").run()
    until(lambda: "user.kept" in maas.logs(), "the warning")
    assert 'reason="PUID=1000 need' in maas.logs()
    works(maas)
    maas.remove()


def test_embedded_database_under_a_root_that_must_stay_is_refused(new: Run) -> None:
    maas = new("--user", "0", "--cap-drop", "ALL").run()
    assert maas.wait() == 78
    assert "cannot run PostgreSQL in this container: it refuses to run as root" in maas.logs()
    maas.remove()


@pytest.mark.parametrize("number", [0, 1, 95], ids=["has no effect", "is not permitted", "is not supported"])
def test_no_start_fails_because_modes_cannot_be_changed(new: Run, tmp_path: Path, number: int) -> None:
    """As on a dataset with access control lists; the kernel answers so, by a filter, and in all other places, too."""
    names = ["chmod", "fchmod", "fchmodat"]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    maas = new("--security-opt", f"seccomp={tmp_path / 'profile.json'}").run()
    until(lambda: "supervisord.started" in maas.logs(), "the end of what process 1 does with files")
    assert "Traceback" not in maas.logs().partition("supervisord.started")[0]
    if number == 0:  # supervisord does not start where it may not protect its socket; that lies in memory
        until(lambda: maas.status()["services"].get("volumes", {}).get("level") == "ready", "what comes then")
        assert maas.execute("sh", "-c", "chmod 0700 /tmp/maas; stat -c %a /tmp/maas").strip() == "775", "it is so"
    maas.remove()
