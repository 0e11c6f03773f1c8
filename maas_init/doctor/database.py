"""MAAS's database: whether it can be used, and whether it is fit for MAAS."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Any

import psycopg

from .. import database
from ..bootstrap import journal, schema
from .finding import Check, Finding, failure, warning
from .patient import NotNow, Patient

BETTER = 14
"""The major version from which PostgreSQL is what MAAS 3.5 is made for."""
QUESTIONS = 5
SLOW = 0.02
"""Seconds; MAAS asks hundreds of questions for one page."""
LEAST_CONNECTIONS = 100
SKEW, LARGE_SKEW = 2.0, 30.0
"""Seconds."""


def database_reachable(patient: Patient) -> str:
    """Does PostgreSQL let MAAS's user in?"""
    connection = patient.connection
    return f"{connection.info.user} in {connection.info.dbname} at {connection.info.host}:{connection.info.port}"


def database_version(patient: Patient) -> str | Finding:
    """Is PostgreSQL of a version that MAAS works with?"""
    version = patient.usable().info.server_version // 10000
    if version < database.OLDEST:
        return failure(f"PostgreSQL {version}", database.HINTS[database.Cause.TOO_OLD])
    return warning(f"PostgreSQL {version}") if version < BETTER else f"PostgreSQL {version}"


def database_rights(patient: Patient) -> str:
    """May MAAS's user create tables there?"""
    database.require_usable(patient.usable(), patient.region().database, patient.where)
    return "it may"


def database_encoding(patient: Patient) -> str | Finding:
    """Can the database hold every character?"""
    found = patient.usable().info.parameter_status("server_encoding") or "unknown"
    return found if found == "UTF8" else failure(f"it is {found}")


def database_latency(patient: Patient) -> str | Finding:
    """Does the database answer quickly?"""
    connection, taken = patient.usable(), []
    for _ in range(QUESTIONS):
        began = time.monotonic()
        connection.execute("SELECT 1")
        taken.append(time.monotonic() - began)
    typical = statistics.median(taken)
    told = f"SELECT 1 in {typical * 1000:.1f} ms"
    return warning(told) if typical > SLOW else told


def database_connections(patient: Patient) -> str | Finding:
    """Does the database take as many connections as MAAS makes?"""
    most, used = _only(
        patient.usable().execute(
            "SELECT current_setting('max_connections')::int, count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend'"
        )
    )
    told = f"{used} of {most} are in use"
    return warning(told) if most < LEAST_CONNECTIONS or used > most * 0.9 else told


def database_clock(patient: Patient) -> str | Finding:
    """Do the database's clock and this one agree?"""
    before = patient.clock()
    theirs = float(_only(patient.usable().execute("SELECT extract(epoch FROM clock_timestamp())"))[0])
    skew = theirs - (before + patient.clock()) / 2
    told = f"the database's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this one"
    if abs(skew) > LARGE_SKEW:
        return failure(told)
    return warning(told) if abs(skew) > SKEW else told


def database_schema(patient: Patient) -> str | Finding:
    """Is the schema that of this image's MAAS?"""
    version = schema.package_version(patient.where.at("/var/lib/dpkg/status"))
    present = schema.rows(patient.usable())
    done = journal.read(patient.where)
    if not present:
        raise NotNow("it is empty: the first start makes it")
    if done.get("schema") == schema.fingerprint(version, present):
        return f"{len(present)} migrations, finished by MAAS {schema.short(version)}"
    if done.get("version") in (None, schema.short(version)):
        return warning(
            f"it has {len(present)} migrations, and this image's MAAS {schema.short(version)} did not finish them"
        )
    return warning(f"MAAS {done['version']} was here last, and this image has {schema.short(version)}")


def _only(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the one row of an answer."""
    row = cursor.fetchone()
    assert row is not None
    return row


CHECKS: Iterable[Check] = (
    Check(database_reachable, "Nothing of the region works.", "The evidence says what to check."),
    Check(
        database_version,
        "MAAS waits for ever for a newer one, or is not tested with this one.",
        f"Use PostgreSQL {BETTER} or newer.",
    ),
    Check(
        database_rights,
        "MAAS cannot make or upgrade its tables.",
        "Set POSTGRES_USER to the owner of the database, or: ALTER DATABASE maasdb OWNER TO maas.",
    ),
    Check(
        database_encoding,
        "Names with letters outside this character set are refused in the middle of the work.",
        "Save it, make it anew with ENCODING 'UTF8', and put the data back.",
    ),
    Check(
        database_latency, "Pages and deployments are slow.", "Bring the database nearer, or look what it is busy with."
    ),
    Check(
        database_connections,
        "MAAS fails when it finds no free connection; one region needs about 100.",
        "Raise max_connections of the server.",
    ),
    Check(
        database_clock,
        "Regions take each other for dead, and machines cannot log in: MAAS compares times of both.",
        "Have both hosts keep time with NTP.",
    ),
    Check(
        database_schema,
        "Until the schema is upgraded, the region does not start.",
        "It is upgraded at the next start; if not, `maas-init why bootstrap` says why.",
    ),
)
