"""Stands for the distribution's python3 with MAAS's modules: does to the database what the real commands do.

It is started as `fake_maas.py -m MODULE ARGUMENTS...` and appends what it was given to the file `calls` in its
home. A file `fail-COMMAND` there makes a command print its content and fail, `fail-COMMAND-half-way` in the middle,
and with `next-version` there is one more migration.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import psycopg
import yaml

MIGRATIONS: tuple[str, ...] = (
    "contenttypes.0001_initial",
    "auth.0001_initial",
    "maasserver.0001_initial",
    "maasserver.0330_last",
)
HERE = Path(os.environ["HOME"])
if (HERE / "next-version").exists():
    MIGRATIONS += ("maasserver.0331_next",)


def connect() -> psycopg.Connection[tuple[Any, ...]]:
    conf = yaml.safe_load(Path(os.environ["MAAS_REGION_CONFIG"]).read_text())
    return psycopg.connect(
        host=conf["database_host"],
        port=conf["database_port"],
        dbname=conf["database_name"],
        user=conf["database_user"],
        password=conf.get("database_pass") or None,
        autocommit=True,
    )


def applied(connection: psycopg.Connection[tuple[Any, ...]]) -> set[str]:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS django_migrations"
        " (id serial, app text, name text, applied timestamptz DEFAULT clock_timestamp())"
    )
    return {f"{app}.{name}" for app, name in connection.execute("SELECT app, name FROM django_migrations").fetchall()}


def showmigrations() -> None:
    with connect() as connection:
        done = applied(connection)
    for name in MIGRATIONS:
        print(f"[{'X' if name in done else ' '}]  {name}")


def dbupgrade() -> None:
    with connect() as connection:
        print("Operations to perform:\n  Apply all migrations: auth, contenttypes, maasserver\nRunning migrations:")
        done = applied(connection)
        for migration in MIGRATIONS:
            if migration in done:
                continue
            print(f"  Applying {migration}...", end="", flush=True)
            slow = HERE / "slow-dbupgrade"
            time.sleep(float(slow.read_text()) if slow.exists() else 0)
            connection.execute("INSERT INTO django_migrations (app, name) VALUES (%s, %s)", migration.split("."))
            print(" OK", flush=True)
            fail("dbupgrade-half-way")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS auth_user"
            " (username text UNIQUE, email text UNIQUE, password text, is_superuser boolean)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS maasserver_config (name text PRIMARY KEY, value jsonb)")
        connection.execute("CREATE TABLE IF NOT EXISTS maasserver_secret (name text PRIMARY KEY, value text)")
    print("Running Temporal migrations:\n  Applied all migrations.")


def createadmin() -> None:
    given = dict(zip(sys.argv[4::2], sys.argv[5::2], strict=True))
    password, again = getpass.getpass("Password: "), getpass.getpass("Again: ")
    assert password == again
    assert given["--ssh-import"] == ""
    with connect() as connection:
        try:
            connection.execute(
                "INSERT INTO auth_user VALUES (%s, %s, %s, true)", (given["--username"], given["--email"], password)
            )
        except psycopg.errors.UniqueViolation:
            sys.exit(f"AlreadyExistingUser: A user with the email {given['--email']} already exists.")


def forms(config: Any) -> dict[str, types.ModuleType]:
    """Return what knows one setting, a number."""

    class ValidationError(Exception):
        def __init__(self, told: Any) -> None:
            self.messages = [told] if isinstance(told, str) else list(told)

    class Form:
        def __init__(self, name: str, text: str) -> None:
            self.name, self.text = name, text
            self.errors = {} if text.isdigit() else {name: ["Enter a whole number."]}
            self.cleaned_data = {name: int(text)} if text.isdigit() else {}

        def is_valid(self) -> bool:
            return not self.errors

        def save(self, *_of_an_audit_event: None) -> None:
            config.set_config(self.name, self.cleaned_data[self.name])

    def get_config_form(name: str, data: dict[str, str]) -> Form:
        if name != "node_timeout":
            raise ValidationError([f"{name} is not a valid config setting."])
        return Form(name, data[name])

    exceptions, settings = types.ModuleType("django.core.exceptions"), types.ModuleType("maasserver.forms.settings")
    vars(exceptions)["ValidationError"] = ValidationError
    vars(settings)["get_config_form"] = get_config_form
    return {"django.core.exceptions": exceptions, "maasserver.forms.settings": settings}


def shell() -> None:
    def keep(table: str) -> Any:
        def to_table(name: str, value: Any) -> None:
            with connect() as connection:
                connection.execute(
                    f"INSERT INTO {table} VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, json.dumps(value) if table == "maasserver_config" else value),
                )

        return to_table

    models, secrets = types.ModuleType("maasserver.models"), types.ModuleType("maasserver.secrets")

    def get_config(name: str) -> Any:
        with connect() as connection:
            found = connection.execute("SELECT value FROM maasserver_config WHERE name = %s", (name,)).fetchone()
        return found[0] if found else None

    config = types.SimpleNamespace(set_config=keep("maasserver_config"), get_config=get_config)
    vars(models)["Config"] = types.SimpleNamespace(objects=config)
    vars(secrets)["SecretManager"] = lambda: types.SimpleNamespace(set_simple_secret=keep("maasserver_secret"))
    sys.modules |= {"maasserver.models": models, "maasserver.secrets": secrets, **forms(config)}
    assert sys.argv[4] == "-c"
    exec(sys.argv[5], {})


def setup_dns() -> None:
    directory = HERE / "../../../etc/bind/maas"
    for name in ("keys.conf.maas", "rndc.conf.maas", "named.conf.rndc.maas"):
        (directory / name).write_text("key")
    fail("setup-dns-half-way")
    for name in ("named.conf.options.inside.maas", "named.conf.maas"):
        (directory / name).write_text("blank")


def get_named_conf() -> None:
    assert sys.argv[4:6] == ["--edit", "--config-path"]
    with Path(sys.argv[6]).open("a") as stream:
        stream.write('include "/etc/bind/maas/named.conf.maas";\n')


def edit_named_options() -> None:
    # Like MAAS's: what cannot be edited is left alone, and the status is 0.
    path = Path(sys.argv[5])
    text = path.read_text() if path.exists() else ""
    if "options {" in text:
        path.write_text(text.replace("};", '    include "/etc/bind/maas/named.conf.options.inside.maas";\n};'))


def fail(when: str) -> None:
    switch = HERE / f"fail-{when}"
    if switch.exists():
        sys.exit(switch.read_text())


def main() -> None:
    umask = os.umask(0)
    os.umask(umask)
    with (HERE / "calls").open("a") as stream:
        print(json.dumps({"argv": sys.argv[1:], "environ": dict(os.environ), "umask": umask}), file=stream)
    command = sys.argv[3]
    fail(command)
    if (HERE / f"hang-{command}").exists():
        (HERE / f"hang-{command}").unlink()
        time.sleep(30)
    commands = (showmigrations, dbupgrade, createadmin, shell, setup_dns, get_named_conf, edit_named_options)
    {each.__name__.replace("_", "-"): each for each in commands}[command]()


main()
