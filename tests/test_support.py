"""The support bundle holds what helps, and no secret: planted ones are looked for in every byte of it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest
from harness import MAAS_INIT, REQUIRED, configured

from maas_init import masking
from maas_init.masks import HIDDEN
from maas_init.paths import Paths

OURS = Path(__file__).parent.parent / "supervisord.conf.d"

DATABASE = "p%q 'x' $HOME ü"
ADMIN = "a%b 'c' \"d\" ñ;#"
BEFORE = "the password of yesterday"
SHARED = "0123456789abcdef" * 2
SETTINGS = REQUIRED | {"POSTGRES_PASSWORD": DATABASE, "MAAS_ADMIN_PASSWORD": ADMIN, "MAAS_REGION_SECRET": SHARED}
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"

PLANTED = {
    "/var/log/maas/regiond.log": f"login with {DATABASE} failed\nrepr {DATABASE!r}\njson {json.dumps(ADMIN)}\n",
    "/var/log/maas/proxy.log": f"GET http://maas:{quote(DATABASE)}@192.0.2.1/ and http://x:only-here-1@192.0.2.1/\n",
    "/var/log/maas/last-words/rackd.2026.txt": f"rackd ended\n\nThe last lines:\nsecret {SHARED}\n",
    "/var/lib/maas/secret": SHARED,
    "/var/lib/maas/dhcpd.conf": 'key omapi_key {\n  algorithm hmac-md5;\n  secret "only-here-2=";\n};\n',
    "/etc/bind/maas/keys.conf.maas": 'key "maas." {\n\tsecret "only-here-3==";\n};\n',
    "/var/lib/maas/temporal/production.yaml": 'sql:\n  password: "only-here-4"\n  user: maas\n',
    "/var/lib/maas/http/regiond.nginx.conf": f"# {KEY}server {{ listen 5240; }}\n",
    "/etc/maas/regiond.conf": f"database_pass: {BEFORE}\ndatabase_user: maas\nvault_secret_id: only-here-5\n",
    "/var/log/maas/apiserver.log": 'Authorization: OAuth oauth_token="only-here-6", oauth_signature="&only-here-7"\n',
}
SECRETS = (DATABASE, ADMIN, BEFORE, SHARED, "MIIEvQIBADAN", *(f"only-here-{number}" for number in range(1, 8)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every file of a bundle, by its name below the bundle's folder."""
    root = tmp_path_factory.mktemp("root")
    where = Paths(root)
    configured(where, SETTINGS)
    for name, text in PLANTED.items():
        where.at(name).parent.mkdir(parents=True, exist_ok=True)
        where.at(name).write_text(text)
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "MAAS_INIT_ROOT": str(root), "MAAS_INIT_SERVICES": str(OURS)}
    done = subprocess.run([MAAS_INIT, "support-bundle"], env=environ | SETTINGS, stdout=subprocess.PIPE, check=True)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read().decode()
    return found


def test_it_holds_what_helps(bundle: dict[str, str]) -> None:
    for name in (
        *("status.json", "doctor.json", "versions.txt", "environment.txt", "processes.txt", "volumes.txt"),
        *("configuration/run/maas-init/supervisord.conf", "configuration/etc/maas/regiond.conf", "services/bind9.conf"),
        *("logs/regiond.log", "logs/last-words/rackd.2026.txt"),
    ):
        assert bundle[name].strip(), name
    assert "MAAS_URL=http://192.0.2.1:5240/MAAS\n" in bundle["environment.txt"]
    assert "database_user: maas" in bundle["configuration/etc/maas/regiond.conf"]
    assert "server { listen 5240; }" in bundle["configuration/var/lib/maas/http/regiond.nginx.conf"]
    assert "volumes-writable" in {each["name"] for each in json.loads(bundle["doctor.json"])}
    assert "maas-init support-bundle" in bundle["processes.txt"]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_in_it(bundle: dict[str, str], secret: str) -> None:
    forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret)}
    assert [name for name, text in bundle.items() if any(form in text for form in forms)] == []


def test_what_was_planted_is_there_masked(bundle: dict[str, str]) -> None:
    """Or the tests above would look at files that were left out."""
    for name in PLANTED:
        if name == "/var/lib/maas/secret":
            continue  # it holds nothing else
        inside = "logs/" + name.removeprefix("/var/log/maas/") if "/log/" in name else f"configuration{name}"
        assert HIDDEN in bundle[inside], name


def test_it_is_not_written_to_a_terminal_and_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "MAAS_INIT_ROOT": str(tmp_path), "MAAS_INIT_SERVICES": str(OURS)}
    target = tmp_path / "bundle.tar.gz"
    done = subprocess.run(
        [MAAS_INIT, "support-bundle", target], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{target}: ")
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        assert any(name.endswith("/doctor.json") for name in archive.getnames())

    argv = ["script", "--quiet", "--return", "--command", f"{MAAS_INIT} support-bundle", "/dev/null"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1
    assert "cannot write an archive to a terminal" in done.stdout


def test_masking_leaves_what_is_no_secret() -> None:
    text = "state = running\npasswords are kept elsewhere\nlisten 5240;\n# secret\nhttp://192.0.2.1:5240/MAAS\n"
    assert masking.masked(text, ["", "unrelated"]) == text


def test_masked_json_is_still_json(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    configured(where, SETTINGS)
    shown = json.loads(masking.masked(where.settings.read_text(), []))
    assert shown["POSTGRES_PASSWORD"] == shown["MAAS_REGION_SECRET"] == HIDDEN
    assert shown["MAAS_URL"] == REQUIRED["MAAS_URL"]
