"""Secrets do not leave the container: what is shown to others is masked first, by value and by what surrounds it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping

from . import files
from .bootstrap import configuration
from .errors import MaasInitError
from .masks import HIDDEN, Masks
from .paths import Paths
from .settings import values, variables

_KEYS = r"\w*(?:passw(?:or)?d|passphrase|_pass|secret|secret_id|approle_id|api_?key|consumer_key|token|signature)"
PATTERNS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(?P<before>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?P<after>-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        # bind9's and dhcpd's keys
        r"(?P<before>\bsecret[ \t]+(?P<after>\"?))[^\";\s]+(?P=after)",
        # YAML, JSON, INI, the parts of an OAuth header
        rf"(?i)(?P<before>\b{_KEYS}[\"']?\s*[:=]\s*(?P<after>[\"']))(?:(?!(?P=after))[^\\\n]|\\.)*(?P=after)",
        rf"(?i)(?P<before>\b{_KEYS}\s*[:=]\s*)[^\s,;&\"']+(?P<after>)",
        r"(?P<before>://[^/\s:@]*:)[^/\s@]+(?P<after>@)",
    )
)
"""What is secret wherever it stands, also when nobody here knows its value: all between `before` and `after`."""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without these secrets, also as Python, JSON, a shell or a URL write them, and without keys."""
    text = Masks(secrets).hide(text)
    for pattern in PATTERNS:
        text = pattern.sub(lambda found: f"{found['before']}{HIDDEN}{found['after']}", text)
    return text


def secrets_here(where: Paths, environ: Mapping[str, str]) -> list[str]:
    """Return the value of every secret that this container was given, has been given before or made itself."""
    before = files.read_json(where.settings)
    given = (values(environ, where)[0], before if isinstance(before, dict) else {})
    found = [
        str(each[variable.name])
        for each in given
        for variable in variables(each)
        if variable.secret and variable.name in each
    ]
    try:
        conf = configuration.load(where.regiond_conf)
    except MaasInitError:  # a file that is no YAML is masked by what surrounds the values
        conf = {}
    found += [str(conf.get(key) or "") for key in ("database_pass", "vault_approle_id", "vault_secret_id")]
    with contextlib.suppress(OSError, ValueError):
        found.append(where.maas_secret.read_text(encoding="utf-8").strip())
    return list(dict.fromkeys(filter(None, found)))
