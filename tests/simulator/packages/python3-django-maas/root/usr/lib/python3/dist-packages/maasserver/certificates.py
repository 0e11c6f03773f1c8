"""The certificates of the deployment, made with the openssl program."""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from pathlib import Path

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def matches(key: Path, certificate: Path) -> bool:
    """Is this the certificate of this key?"""
    of_key = ["openssl", "pkey", "-in", str(key), "-pubout"]
    of_certificate = ["openssl", "x509", "-in", str(certificate), "-pubkey", "-noout"]
    results = [subprocess.run(a, capture_output=True) for a in (of_key, of_certificate)]
    return not any(r.returncode for r in results) and results[0].stdout == results[1].stdout


def authority() -> dict[str, str]:
    """A certificate authority: key and cert."""
    with tempfile.TemporaryDirectory() as folder:
        _openssl(
            folder,
            "req",
            "-x509",
            *NEW_KEY,
            "-keyout",
            "key",
            "-out",
            "cert",
            "-days",
            "3650",
            "-subj",
            "/O=MAAS simulator/CN=maas-ca",
        )
        return {name: (Path(folder) / name).read_text() for name in ("key", "cert")}


def signed(by: dict[str, str]) -> dict[str, str]:
    """The cluster's certificate, for the name `maas`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in by.items():
            (Path(folder) / f"ca-{name}").write_text(text)
        (Path(folder) / "names").write_text("subjectAltName=DNS:maas\n")
        _openssl(
            folder,
            "req",
            "-new",
            *NEW_KEY,
            "-keyout",
            "key",
            "-out",
            "request",
            "-subj",
            "/O=MAAS simulator/CN=maas-cluster",
        )
        _openssl(
            folder,
            "x509",
            "-req",
            "-in",
            "request",
            "-CA",
            "ca-cert",
            "-CAkey",
            "ca-key",
            "-CAcreateserial",
            "-days",
            "3650",
            "-extfile",
            "names",
            "-out",
            "cert",
        )
        made = {name: (Path(folder) / name).read_text() for name in ("key", "cert")}
    return {**made, "cacerts": by["cert"]}


def _openssl(folder: str, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def random_base64(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode()
