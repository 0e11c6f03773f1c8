"""What cannot work is said at once, all of it, with what to do."""

from __future__ import annotations

import pytest

from .conftest import Run
from .docker import ADMIN_PASSWORD, SETTINGS, until

pytestmark = pytest.mark.container

REQUIRED = ("POSTGRES_PASSWORD", "MAAS_URL", "MAAS_ADMIN_PASSWORD", "MAAS_ADMIN_EMAIL")

MALFORMED = {
    "POSTGRES_HOST": "no host",
    "POSTGRES_PORT": "99999",
    "POSTGRES_DB": "maas; drop",
    "POSTGRES_USER": "ma as",
    "POSTGRES_PASSWORD": "two\nlines",
    "MAAS_URL": "http://maas.example.com",
    "MAAS_ADMIN_USERNAME": "ad min",
    "MAAS_ADMIN_PASSWORD": "x" * 10240,
    "MAAS_ADMIN_EMAIL": "nobody",
    "MAAS_REGION_SECRET": "not hexadecimal",
    "MAAS_DNS_FORWARDER": "10.0.0.300",
    "MAAS_BOOT_IMAGES_AUTO_IMPORT": "perhaps",
    "MAAS_DEBUG": "2",
    "MAAS_INIT_DATABASE_ATTEMPTS": "0",
    "MAAS_INIT_DATABASE_INTERVAL": "soon",
}


def test_every_missing_variable_is_named_in_one_message(new: Run) -> None:
    maas = new(**dict.fromkeys(REQUIRED, "")).run()

    assert maas.wait() == 78
    for name in REQUIRED:
        assert f"{name} is not set" in maas.logs()


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable_ends_with_78(new: Run, name: str) -> None:
    maas = new(**{name: ""}).run()

    assert maas.wait() == 78
    assert f"1 setting needs attention\n  {name} is not set" in maas.logs()


def test_every_malformed_variable_is_named_in_one_message(new: Run) -> None:
    maas = new(**MALFORMED).run()

    assert maas.wait() == 78
    logs = maas.logs()
    assert f"{len(MALFORMED)} settings need attention" in logs
    for name in MALFORMED:
        assert f"\n  {name} " in logs
    assert "two" not in logs
    assert "not hexadecimal" not in logs.replace("is not 32 to 128 hexadecimal digits", "")


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_variable_ends_with_78(new: Run, name: str) -> None:
    maas = new(**{name: MALFORMED[name]}).run()

    assert maas.wait() == 78
    assert f"1 setting needs attention\n  {name} " in maas.logs()


@pytest.mark.parametrize(
    ("host", "cause"),
    [("127.0.0.1", "nothing accepts connections there"), ("no-such-host.invalid", "its name cannot be resolved")],
)
def test_a_database_that_never_answers_ends_with_75(new: Run, host: str, cause: str) -> None:
    maas = new(POSTGRES_HOST=host, MAAS_INIT_DATABASE_ATTEMPTS="2", MAAS_INIT_DATABASE_INTERVAL="0.2").run()

    assert maas.wait() == 75
    assert cause in maas.logs()
    assert "code=75" in maas.logs()


def test_secrets_may_come_from_files(new: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    secrets = tmp_path_factory.mktemp("secrets")
    secrets.chmod(0o755)
    for name in ("POSTGRES_PASSWORD", "MAAS_ADMIN_PASSWORD"):
        (secrets / name).write_text(SETTINGS[name] + "\n")
    maas = new(
        *("--volume", f"{secrets}:/run/secrets:ro"),
        POSTGRES_PASSWORD="",
        POSTGRES_PASSWORD_FILE="/run/secrets/POSTGRES_PASSWORD",
        MAAS_ADMIN_PASSWORD="",
        MAAS_ADMIN_PASSWORD_FILE="/run/secrets/MAAS_ADMIN_PASSWORD",
    ).run()

    maas.until_healthy()
    until(lambda: "admin.created" in maas.logs(), "the administrator")
    assert ADMIN_PASSWORD not in maas.logs()
