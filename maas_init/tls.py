"""TLS on port 5443: hands the operator's certificate to MAAS, which shows it in nginx, and takes it back.

MAAS keeps the pair in its database. What was handed over last is noted in the journal; a pair that changed is handed
over anew, one that went is taken back, and one that cannot be used is refused before MAAS hears of it.
"""

from __future__ import annotations

import os

from . import certificate, log
from .bootstrap import journal
from .bootstrap.work import PYTHON, Maas
from .paths import Paths
from .settings import RegionSettings

PORT = 5443


def apply(settings: RegionSettings, paths: Paths, *, python: str = PYTHON) -> None:
    """Make MAAS use the files as they are now. Raises MaasInitError when they cannot be used; nothing changes then."""
    wanted = settings.tls
    given = certificate.fingerprint(wanted)
    if given == certificate.in_use(paths):
        return
    maas = Maas(settings, paths, python)
    if wanted and given:
        certificate.examine(wanted)
        cacert = ["--cacert", os.fspath(wanted.cacert)] if wanted.cacert else []
        pair = (os.fspath(wanted.key), os.fspath(wanted.cert))
        maas.run("django", "config_tls", "enable", *pair, *cacert, "--port", str(PORT), "--yes")
        until = certificate.date(certificate.end(wanted))
        log.info("tls.switched_on", certificate=wanted.cert, port=PORT, until=until)
    else:
        maas.run("django", "config_tls", "disable")
        log.info("tls.switched_off")
    journal.note(paths, tls=given)
