"""Temporal's way to the database with TLS: MAAS's configuration for it has no place for that.

regiond writes the configuration at each start. Temporal itself speaks of TLS where it speaks of the database, so what
it starts from is a copy with these lines added. It knows three ways only: none, encrypted, and with the server's name
checked; where an authority is named it must have signed the certificate in any case (its library's rule).
"""

from __future__ import annotations

import yaml

from . import files
from .errors import MaasInitError
from .paths import Paths
from .settings import WITH_TLS, Database


def configure(database: Database, where: Paths) -> None:
    """Write the copy. Raises MaasInitError when there is nothing to copy."""
    try:
        found = yaml.safe_load(where.temporal_conf.read_text(encoding="utf-8"))
        for store in found["persistence"]["datastores"].values():
            store["sql"]["tls"] = server_tls(database, where)
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is not as MAAS writes it"  # never quoted: it holds a password
        raise MaasInitError(f"cannot add TLS to {where.temporal_conf}: {reason}") from None
    files.write(where.temporal_conf_with_tls, yaml.safe_dump(found), mode=0o600, sync=False)


def server_tls(database: Database, where: Paths) -> dict[str, object]:
    """Return what temporal-server's configuration says of TLS to the database."""
    there = database.tls(where)
    return {
        "enabled": True,
        "enableHostVerification": database.sslmode == "verify-full",
        "serverName": database.host,
        "caFile": there.get("sslrootcert", ""),
        "certFile": there.get("sslcert", ""),
        "keyFile": there.get("sslkey", ""),
    }


def tool_environment(database: Database, where: Paths) -> dict[str, str]:
    """Return the same for temporal-sql-tool, which dbupgrade runs; nothing without TLS."""
    if database.sslmode not in WITH_TLS:
        return {}
    there = database.tls(where)
    told = {
        "SQL_TLS": "true",
        "SQL_TLS_DISABLE_HOST_VERIFICATION": "false" if database.sslmode == "verify-full" else "true",
        "SQL_TLS_SERVER_NAME": database.host,
        "SQL_TLS_CA_FILE": there.get("sslrootcert", ""),
        "SQL_TLS_CERT_FILE": there.get("sslcert", ""),
        "SQL_TLS_KEY_FILE": there.get("sslkey", ""),
    }
    return {name: value for name, value in told.items() if value}
