"""named: the distribution's configuration with MAAS's two files included.

MAAS's packages do the same when they are installed; it is done again here because /etc/bind may come from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..paths import Paths
from .file import ConfigFile

NO_OPTIONS = """\
options {
    directory "/var/cache/bind";
    listen-on-v6 { any; };
};
"""


def named_conf(where: Paths) -> list[ConfigFile]:
    """Return the two files of /etc/bind in which MAAS has a line."""
    bind = where.at("/etc/bind")
    maas = bind / "maas"
    return [
        ConfigFile(bind / "named.conf.local", with_zones(_text(bind / "named.conf.local"), maas)),
        ConfigFile(bind / "named.conf.options", with_options(_text(bind / "named.conf.options"), maas)),
    ]


def with_zones(text: str, maas: Path) -> str:
    """Return named.conf.local with MAAS's zones included."""
    line = f'include "{maas}/named.conf.maas";'
    return text if line in text else f"{text.rstrip()}\n{line}\n".lstrip()


def with_options(text: str, maas: Path) -> str:
    """Return named.conf.options with MAAS's options included in the block.

    MAAS states `forwarders` and `dnssec-validation` itself; named refuses to start when they are said twice.
    """
    line = f'include "{maas}/named.conf.options.inside.maas";'
    if line in text:
        return text
    if "options" not in text:
        text = NO_OPTIONS
    text = re.sub(r"(?m)^\s*(dnssec-validation\s[^;]*;|forwarders\s*\{[^}]*\}\s*;)\s*\n", "", text)
    head, _, tail = text.rpartition("};")
    return f"{head}    {line}\n}};{tail}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
