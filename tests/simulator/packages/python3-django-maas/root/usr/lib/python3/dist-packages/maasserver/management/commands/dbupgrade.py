"""dbupgrade: drop views and triggers, migrate, put them back, Temporal's schemas.

There is no lock: two of these at once hurt each other, as with MAAS.
"""

from __future__ import annotations

import subprocess
import sys

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connections

from maasserver import triggers
from provisioningserver import paths, simulation


class Command(BaseCommand):
    help = "Upgrades database schema for MAAS (simulator)."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS)
        parser.add_argument("--internal-no-triggers", action="store_true", dest="no_triggers")

    def handle(self, *args, **options) -> None:
        connection = connections[options["database"]]
        connection.ensure_connection()
        with connection.cursor() as cursor:
            triggers.drop(cursor)
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        with connection.cursor() as cursor:
            if not options["no_triggers"]:
                triggers.install_triggers(cursor)
            triggers.install_views(cursor)
        migrate_temporal(connection)


def migrate_temporal(connection) -> None:
    print("Running Temporal migrations:", flush=True)
    if simulation.switch("temporal-schema-fails") is not None:
        print("Failed to apply Temporal migrations\nsimulated failure")
        sys.exit(1)
    parameters = connection.get_connection_params()
    missing = []
    with connection.cursor() as cursor:
        for schema in ("temporal", "temporal_visibility"):
            cursor.execute("SELECT to_regclass(%s)", [f"{schema}.schema_version"])
            if cursor.fetchone()[0]:
                cursor.execute(f"UPDATE {schema}.schema_version SET db_name = current_database()")
            else:
                missing.append(schema)
    for schema in missing:
        _tool(parameters, schema, "setup-schema", "-v", "0.0")
    folder = paths.program("/var/lib/temporal/schema")
    for schema, name in (("temporal", "temporal"), ("temporal_visibility", "visibility")):
        _tool(parameters, schema, "update-schema", "-d", f"{folder}/{name}/versioned")
    print("  Applied all migrations.", flush=True)


def _tool(parameters: dict, schema: str, *words: str) -> None:
    """temporal-sql-tool; the password is on its command line when Django has one."""
    endpoint, attributes = parameters["host"], [f"search_path={schema}"]
    if endpoint.startswith("/"):
        attributes.insert(0, f"host={endpoint}")
        endpoint = "@"
    argv = [
        paths.program("/usr/bin/temporal-sql-tool"),
        "--plugin",
        "postgres",
        "--endpoint",
        endpoint,
        "--port",
        parameters.get("port", "5432"),
        "--database",
        parameters["database"],
        "--ca",
        "&".join(attributes),
    ]
    if parameters.get("user"):
        argv += ["--user", parameters["user"]]
    if parameters.get("password"):
        argv += ["--password", parameters["password"]]
    try:
        subprocess.run([*argv, *words], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        print("Failed to apply Temporal migrations")
        print(error.stderr.decode())
        sys.exit(error.returncode)
