"""The operator's certificate: whether it can be used, until when, and whether MAAS uses it already."""

from __future__ import annotations

import hashlib
import re
import time
from functools import lru_cache

from . import commands, files
from .errors import CommandFailed, MaasInitError
from .paths import Paths
from .settings import Tls


def watch(tls: Tls | None, paths: Paths) -> str:
    """Return until when the certificate is good, for the status. Raises MaasInitError that says what is wrong."""
    given = fingerprint(tls)
    if given != in_use(paths):
        if tls and given:
            examine(tls)
        raise MaasInitError("cannot tell yet: the files have changed and MAAS does not use them yet")
    if tls is None or not given:
        return "off: the files are not there"
    if end(tls) < time.time():
        raise MaasInitError(
            f"cannot be used any more: {tls.cert} expired on {date(end(tls))}",
            hint="renew it; a new file is used at once",
        )
    return f"{tls.cert} is good until {date(end(tls))} ({int((end(tls) - time.time()) / 86400)} days)"


def in_use(paths: Paths) -> str:
    """Return the fingerprint of what MAAS was given last (see bootstrap.journal)."""
    found = files.read_json(paths.journal)
    return str(found.get("tls", "")) if isinstance(found, dict) else ""


def fingerprint(tls: Tls | None) -> str:
    """Return what stands for the content of the files; nothing when neither certificate nor key is there.

    Raises MaasInitError when one of them cannot be read.
    """
    if tls is None or not (tls.cert.exists() or tls.key.exists()):
        return ""
    found = hashlib.sha256()
    for file in (tls.cert, tls.key, tls.cacert):
        try:
            found.update(hashlib.sha256(file.read_bytes() if file else b"").digest())
        except OSError as error:
            raise MaasInitError(
                f"cannot use TLS: {file} cannot be read: {error.strerror}",
                hint="the user of this container must be able to read it",
            ) from None
    return found.hexdigest()


def examine(tls: Tls) -> None:
    """Raise MaasInitError when the pair does not match, is none, or is over."""
    import ssl  # only who uses TLS pays for it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        told = str(getattr(error, "reason", None) or error)
        told = "the key is not that of the certificate" if "MISMATCH" in told else told.lower().replace("_", " ")
        raise MaasInitError(f"cannot use {tls.cert} with {tls.key}: {told}; TLS stays as it was") from None
    if end(tls) < time.time():
        raise MaasInitError(f"cannot use {tls.cert}: it expired on {date(end(tls))}; TLS stays as it was")


def _no_password() -> str:
    raise ValueError("the key is protected by a password, which MAAS cannot give")


def end(tls: Tls) -> float:
    """Return the end of the certificate's validity, in seconds since the epoch."""
    return _end(tls.cert.read_text("utf-8", "replace"))


@lru_cache(maxsize=2)
def _end(certificate: str) -> float:
    import ssl

    try:
        told = commands.run("openssl", "x509", "-noout", "-enddate", stdin=certificate, silent_within=10.0)
    except CommandFailed as failure:
        raise MaasInitError(f"cannot tell until when the certificate is good: {failure}") from None
    found = re.search(r"notAfter=(.+)", told)
    if not found:
        raise MaasInitError(f"cannot tell until when the certificate is good: openssl said {told!r}")
    return float(ssl.cert_time_to_seconds(found[1].strip()))


def date(seconds: float) -> str:
    """Return a moment as people read it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
