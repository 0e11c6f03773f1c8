"""TLS with the operator's certificate: on, renewed, refused, off."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Run
from .docker import Container, docker, until

pytestmark = pytest.mark.container

FILES = {"MAAS_TLS_CERT_FILE": "/etc/maas/tls.crt", "MAAS_TLS_KEY_FILE": "/etc/maas/tls.key"}


def make(directory: Path, name: str, days: int = 90) -> Path:
    """Make a certificate for the name maas and its key; return the certificate."""
    pair = ("-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt")
    subject = ("-subj", "/CN=maas", "-addext", "subjectAltName=DNS:maas", "-days", str(days))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *pair, *subject]
    subprocess.run(command, check=True, capture_output=True)
    return directory / f"{name}.crt"


def put(maas: Container, certificate: Path, key: Path) -> None:
    for file, target in ((certificate, "tls.crt"), (key, "tls.key")):
        maas.execute(
            "sh", "-c", f"cat > /etc/maas/.new && mv /etc/maas/.new /etc/maas/{target}", stdin=file.read_text()
        )


def answer(maas: Container, trusted: Path) -> str:
    """Return what a client gets over TLS that trusts this certificate alone."""
    address = maas.address()
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", str(trusted)]
    command += ["--resolve", f"maas:5443:{address}", "https://maas:5443/MAAS/api/2.0/version/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def why(maas: Container) -> str:
    return str(maas.status()["services"].get("certificate", {"why": ""})["why"])


def test_certificate_is_used_renewed_refused_and_taken_back(new: Run, tmp_path: Path) -> None:
    first, second = make(tmp_path, "first"), make(tmp_path, "second")
    maas = new(**FILES).run()
    maas.until_healthy()
    assert "off: the files are not there" in why(maas)

    put(maas, first, first.with_suffix(".key"))
    until(lambda: '"version"' in answer(maas, first), "MAAS over TLS")
    until(lambda: "is good until 20" in why(maas), "the end of the certificate in the status")
    regiond = maas.processes()["regiond"]

    put(maas, second, second.with_suffix(".key"))
    until(lambda: '"version"' in answer(maas, second), "MAAS with the new certificate")
    assert "version" not in answer(maas, first)
    assert maas.processes()["regiond"] == regiond, "nothing was restarted for it"

    put(maas, first, second.with_suffix(".key"))
    until(lambda: "the key is not that of the certificate" in why(maas), "the reason why the pair is refused")
    assert maas.status()["level"] == "degraded"
    assert '"version"' in answer(maas, second), "what was good stays in use"

    docker("restart", maas.name)
    until(lambda: '"version"' in answer(maas, second), "the same after a restart")
    maas.execute("rm", *FILES.values())
    until(lambda: "off: the files are not there" in why(maas), "TLS being switched off")
    until(lambda: "version" not in answer(maas, second), "nothing on the port any more")
    maas.until_healthy()
    assert maas.status()["services"]["api"]["level"] == "ready"
