"""bind9's keys and blank files for MAAS, once for each deployment, before named starts."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from .. import files, log
from ..errors import MaasInitError
from .work import Work, tell

FILES = (
    "keys.conf.maas",
    "rndc.conf.maas",
    "named.conf.rndc.maas",
    "named.conf.options.inside.maas",
    "named.conf.maas",
)
"""What `setup-dns` leaves in /etc/bind/maas, in the order in which it writes them."""


INCLUDES = {
    "named.conf.local": (
        "named.conf.maas",
        ("get-named-conf", "--edit", "--config-path"),
    ),
    "named.conf.options": (
        "named.conf.options.inside.maas",
        ("edit-named-options", "--config-path"),
    ),
}
"""The files of /etc/bind with a line of MAAS's, what that line includes, and MAAS's command that adds it."""


def set_up(work: Work) -> bool:
    """Make what named needs for MAAS and what is not there yet; return whether anything was missing.

    Raises MaasInitError when MAAS's own programs could not add its lines to the configuration of named.
    """
    log_of_dns = log.bound(phase="bootstrap")
    made = [name for name, make in (("keys", _keys), ("rndc", _rndc_key), ("includes", _includes)) if make(work)]
    if made:
        log_of_dns.info("dns.prepared", made=",".join(made))
    return bool(made)


def _keys(work: Work) -> bool:
    """Run setup-dns unless all it leaves is there.

    Each run makes new keys, blanks the configuration and deletes all zones, which a running named would not notice
    and MAAS would not forgive. So bind9 starts after bootstrap, and what is complete is never made again.
    """
    directory = work.paths.at("/etc/bind/maas")
    if all((directory / name).is_file() and (directory / name).stat().st_size for name in FILES):
        return False
    tell(work.paths, "dns", "making the keys of bind9")
    directory.mkdir(parents=True, exist_ok=True)
    # If it were missing, setup-dns would make it and give it to bind's group, which only root can.
    zones = work.paths.at("/var/lib/bind/maas")
    zones.mkdir(mode=0o775, parents=True, exist_ok=True)
    work.maas.run("provisioningserver", "setup-dns")
    return True


def _rndc_key(work: Work) -> bool:
    """Make the key with which rndc speaks to named; the image brings none, or all containers would share it."""
    key = work.paths.at("/etc/bind/rndc.key")
    if key.exists():
        return False
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    text = f'key "rndc-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'
    return files.write(key, text, mode=0o640)


def _includes(work: Work) -> bool:
    """Have MAAS's lines added to the configuration of named, which may have been mounted from elsewhere."""
    changed = False
    for name, (included, command) in INCLUDES.items():
        path = work.paths.at(f"/etc/bind/{name}")
        if _includes_already(path, included):
            continue
        work.maas.run("provisioningserver", *command, str(path))
        changed = True
        if not _includes_already(path, included):
            raise MaasInitError(
                f"cannot add MAAS's line to {path}",
                hint=f'add it by hand: include "/etc/bind/maas/{included}";',
            )
    return changed


def _includes_already(path: Path, included: str) -> bool:
    return path.exists() and f'/maas/{included}"' in path.read_text(encoding="utf-8")
