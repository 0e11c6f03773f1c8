"""The operator's certificate, with pairs that openssl made."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from maas_init import certificate
from maas_init.errors import MaasInitError
from maas_init.paths import Paths
from maas_init.settings import Tls


def openssl(*argv: object) -> None:
    subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True)


def make(directory: Path, name: str, *, days: int = 90, password: str = "") -> Tls:
    """Make a certificate that signs itself; one of -1 days ended yesterday."""
    key, cert = directory / f"{name}.key", directory / f"{name}.crt"
    protection = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", *protection, "-keyout", key, "-out", cert),
        *("-subj", "/CN=maas", "-days", days),
    )
    return Tls(cert, key, None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pairs")
    make(directory, "good")
    make(directory, "other")
    make(directory, "locked", password="secret")
    return directory


def pair(directory: Path, cert: str, key: str) -> Tls:
    return Tls(directory / f"{cert}.crt", directory / f"{key}.key", None)


def test_good_pair_is_accepted(pairs: Path) -> None:
    certificate.examine(pair(pairs, "good", "good"))


@pytest.mark.parametrize(
    ("cert", "key", "told"),
    [
        ("good", "other", "the key is not that of the certificate"),
        ("good", "locked", "protected by a password"),
        ("good", "absent", "No such file"),
    ],
)
def test_pair_that_cannot_be_used_is_refused_with_the_reason(pairs: Path, cert: str, key: str, told: str) -> None:
    with pytest.raises(MaasInitError, match="TLS stays as it was") as failure:
        certificate.examine(pair(pairs, cert, key))
    assert told.lower() in str(failure.value).lower()


def test_what_is_no_certificate_is_refused(tmp_path: Path, pairs: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    with pytest.raises(MaasInitError, match="TLS stays as it was"):
        certificate.examine(Tls(nonsense, pairs / "good.key", None))


def test_expired_certificate_is_refused_with_its_date(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = pair(pairs, "good", "good")
    later = certificate.end(tls) + 1
    monkeypatch.setattr("time.time", lambda: later)
    with pytest.raises(MaasInitError, match=r"it expired on 20\d\d-\d\d-\d\d \d\d:\d\d UTC"):
        certificate.examine(tls)


def note(paths: Paths, tls: Tls | None) -> None:
    paths.journal.parent.mkdir(parents=True, exist_ok=True)
    paths.journal.write_text(json.dumps({"tls": certificate.fingerprint(tls)}))


def test_status_tells_until_when_it_is_good_and_when_it_is_over(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    good = pair(pairs, "good", "good")
    with pytest.raises(MaasInitError, match="MAAS does not use them yet"):
        certificate.watch(good, paths)
    note(paths, good)
    assert re.search(r"is good until 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(89 days\)", certificate.watch(good, paths))
    later = certificate.end(good) + 1
    monkeypatch.setattr("time.time", lambda: later)
    with pytest.raises(MaasInitError, match="expired on"):
        certificate.watch(good, paths)


def test_changed_gone_and_unreadable_files_are_noticed(pairs: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    tls = Tls(tmp_path / "crt", tmp_path / "key", None)
    assert certificate.watch(tls, paths) == "off: the files are not there"
    tls.cert.write_bytes((pairs / "good.crt").read_bytes())
    with pytest.raises(MaasInitError, match=r"key cannot be read: No such file"):
        certificate.watch(tls, paths)
    tls.key.write_bytes((pairs / "good.key").read_bytes())
    note(paths, tls)
    certificate.watch(tls, paths)
    tls.key.write_bytes((pairs / "other.key").read_bytes())
    with pytest.raises(MaasInitError, match="not that of the certificate"):
        certificate.watch(tls, paths)
    tls.cert.unlink()
    tls.key.unlink()
    with pytest.raises(MaasInitError, match="MAAS does not use them yet"):
        certificate.watch(tls, paths)
