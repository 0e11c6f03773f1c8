from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from harness import REQUIRED
from hypothesis import given
from hypothesis import strategies as st

from maas_init.errors import ExitCode, SettingsError
from maas_init.paths import Paths
from maas_init.settings import LONGEST_SECRET, VARIABLES, RegionSettings, Secret, Settings, Tls, values

PASSWORD = "a password nobody may see"
NAMES = [variable.name for variable in VARIABLES]
SECRET_NAMES = [variable.name for variable in VARIABLES if variable.secret]
PLAIN_NAMES = [variable.name for variable in VARIABLES if not variable.secret]
REQUIRED_NAMES = [variable.name for variable in VARIABLES if "region" in variable.required]


def settings(**environ: str) -> RegionSettings:
    return Settings.from_environ(REQUIRED | environ).region()


def problem(**environ: str) -> str:
    """Return what is told about an environment that cannot be used."""
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    return str(caught.value)


# What good values become.


def test_defaults_are_those_of_the_documentation() -> None:
    environ = {name: REQUIRED[name] for name in REQUIRED_NAMES}
    found = Settings.from_environ(environ).region()
    assert found.role == "region+rack"
    assert found.roles == {"region", "rack"}
    assert (found.database.host, found.database.port) == ("postgres", 5432)
    assert (found.database.name, found.database.user) == ("maasdb", "maas")
    assert found.admin_username == "admin"
    assert found.region_secret is None
    assert found.dns_forwarders == ("8.8.8.8",)
    assert found.boot_images_auto_import is True
    assert found.debug is False
    assert (found.database_attempts, found.database_interval) == (30, 2.0)


def test_required_variables_are_those_of_the_documentation() -> None:
    assert set(REQUIRED_NAMES) == {"POSTGRES_PASSWORD", "MAAS_URL", "MAAS_ADMIN_PASSWORD", "MAAS_ADMIN_EMAIL"}


RACK = {
    "MAAS_ROLE": "rack",
    "MAAS_REGION_URLS": "http://a:5240/MAAS, http://b:5240/MAAS/",
    "MAAS_REGION_SECRET": "ab" * 16,
}


def test_rack_alone_needs_its_regions_and_their_secret_and_nothing_else() -> None:
    found = Settings.from_environ(RACK)
    assert not isinstance(found, RegionSettings)
    assert found.roles == {"rack"}
    assert [url.text for url in found.region_urls] == ["http://a:5240/MAAS", "http://b:5240/MAAS"]
    with pytest.raises(SettingsError, match="a rack controller alone"):
        found.region()
    with pytest.raises(SettingsError) as failure:
        Settings.from_environ({"MAAS_ROLE": "rack"})
    told = str(failure.value)
    assert "cannot start: 2 settings need attention" in told
    assert "MAAS_REGION_URLS is not set" in told
    assert "MAAS_REGION_SECRET is not set" in told


def test_word_embedded_means_a_database_of_our_own() -> None:
    assert settings(POSTGRES_HOST="embedded").database.embedded
    assert not settings(POSTGRES_HOST="embedded.example.com").database.embedded


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://192.168.1.100:5240/MAAS", "192.168.1.100", 5240),
        ("http://maas.example.com/MAAS", "maas.example.com", 80),
        ("https://maas/MAAS/", "maas", 443),
        ("http://[fd00::1]:5240/MAAS", "fd00::1", 5240),
    ],
)
def test_url_is_taken_apart(text: str, host: str, port: int) -> None:
    found = settings(MAAS_URL=text).maas_url
    assert (found.text, found.host, found.port) == (text.rstrip("/"), host, port)


@pytest.mark.parametrize("text", ["true", "True", "YES", "on", "1"])
def test_words_for_yes(text: str) -> None:
    assert settings(MAAS_DEBUG=text).debug is True


@pytest.mark.parametrize("text", ["false", "False", "NO", "off", "0"])
def test_words_for_no(text: str) -> None:
    assert settings(MAAS_BOOT_IMAGES_AUTO_IMPORT=text).boot_images_auto_import is False


@pytest.mark.parametrize(
    ("text", "forwarders"),
    [
        ("1.1.1.1", ("1.1.1.1",)),
        ("1.1.1.1 8.8.8.8", ("1.1.1.1", "8.8.8.8")),
        ("1.1.1.1,8.8.8.8", ("1.1.1.1", "8.8.8.8")),
        (" 1.1.1.1 , 2620:fe::fe\n", ("1.1.1.1", "2620:fe::fe")),
        ("none", ()),
        ("NONE", ()),
    ],
)
def test_forwarders_are_a_list_in_any_usual_form(text: str, forwarders: tuple[str, ...]) -> None:
    assert settings(MAAS_DNS_FORWARDER=text).dns_forwarders == forwarders


@pytest.mark.parametrize(
    "text",
    [
        "100 %",
        "%(ENV_HOME)s",
        "$HOME ${HOME} $(id)",
        "single ' tick ` question ?",
        "  spaces around  ",
        "ünïcödé 密码 😀",
        "a" * LONGEST_SECRET,
        "; # not a comment",
        "{braces}: [yaml, 'like'] & *anchor",
        "-starts with a dash",
    ],
)
def test_password_is_kept_as_it_is(text: str) -> None:
    found = settings(POSTGRES_PASSWORD=text, MAAS_ADMIN_PASSWORD=text)
    assert (found.database.password.reveal(), found.admin_password.reveal()) == (text, text)


def test_administrator_s_password_may_hold_what_the_database_s_may_not() -> None:
    assert settings(MAAS_ADMIN_PASSWORD='double " back \\').admin_password.reveal() == 'double " back \\'


def test_region_secret_is_hexadecimal_and_kept_in_lower_case() -> None:
    assert settings(MAAS_REGION_SECRET="AB" * 16).region_secret == Secret("ab" * 16)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REQUIRED_NAMES])
def test_empty_variable_counts_as_not_set(name: str) -> None:
    assert settings(**{name: ""}) == settings(**{name: next(v.default for v in VARIABLES if v.name == name)})


# What is wrong, and how it is told.


@pytest.mark.parametrize("name", REQUIRED_NAMES)
@pytest.mark.parametrize("given_", ["missing", "empty"])
def test_missing_variable_is_told(name: str, given_: str) -> None:
    environ = {key: value for key, value in REQUIRED.items() if key != name}
    if given_ == "empty":
        environ[name] = ""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    assert str(caught.value).startswith(f"cannot start: 1 setting needs attention\n  {name} is not set\n      (give ")
    assert caught.value.exit_code is ExitCode.BAD_SETTINGS


NUMBERS = {"PUID": "1000", "PGID": "0"}

MALFORMED = {
    "POSTGRES_HOST": [
        *("two words", "a..b", "-h", "300.1.1.1", "1.2.3", "host;", "host'", "%(x)s", "a\nb", "/run\n", "/a b"),
    ],
    "POSTGRES_PORT": ["0", "65536", "-1", "5432.0", "0x10", "five", "\uff15\uff14", "9" * 5000, " 5432", "5432\n"],
    "POSTGRES_DB": ["two words", "1db", "a" * 64, 'a"b', "a'b", "%d", "a;b", "$a", "a\n", "-a", "dä"],
    "POSTGRES_USER": ["two words", "1u", "a" * 64, 'a"b', "a'b", "%s", "a;b", "$a", "a\n", "-a", "ü"],
    "POSTGRES_PASSWORD": ["two\nlines", "nul\0", "tab\t", "\x1b[31m", "a" * 1025, "a" * 10_000, 'quo"te', "\\"],
    "MAAS_URL": [
        *("maas", "maas:5240/MAAS", "ftp://maas/MAAS", "http://", "http:///MAAS", "http://maas:80", "http://maas/maas"),
        *("http://maas:0x1/MAAS", "http://maas:65536/MAAS", "http://maas:99999999999/MAAS", "http://user:pw@maas/MAAS"),
        *("http://maas/MAAS?x", "http://maas/MAAS#x", "http://maas/MAAS\n", "http://ma as/MAAS", "http://[::1/MAAS"),
        *("http://[zz]:80/MAAS", "http://maas/MAAS/x", "http://%s/MAAS", "http://m$a/MAAS", "http://" + "a" * 10_000),
    ],
    "MAAS_ADMIN_USERNAME": ["two words", "ädmin", "a" * 151, "-admin", 'a"b', "a'b", "a%b", "a$b", "a\n", "a;b"],
    "MAAS_ADMIN_PASSWORD": ["two\nlines", "carriage\rreturn", "nul\0", "\x7f", "a" * 10_000],
    "MAAS_ADMIN_EMAIL": [
        *("admin", "@example.com", "admin@", "a b@c.d", "-a@b.c", "a@b..c", "a@b.c\n", "a" * 300 + "@b.c"),
    ],
    "MAAS_REGION_SECRET": [
        *("short", "0" * 31, "0" * 33, "0" * 130, "g" * 32, "0" * 32 + "\n", "0x" + "0" * 30, "\u0660" * 32),
    ],
    "MAAS_DNS_FORWARDER": [
        *("dns.example.com", "10.0.0.300", "1.1.1.1;", "1.1.1.1:53", "none 1.1.1.1", "%s", "\u0663.1.1.1"),
        *(" ", ",", "\n"),
    ],
    "MAAS_BOOT_IMAGES_AUTO_IMPORT": ["maybe", "2", "tru", "yes\n", "да", "true " * 2000],
    "MAAS_DEBUG": ["maybe", "-1", "yes please", "debug"],
    "MAAS_INIT_DATABASE_ATTEMPTS": ["0", "-1", "1.5", "many", "1" * 7, "3\n"],
    "MAAS_ROLE": ["Region", "rack+region", "region,rack", "both", "rack\n"],
    "MAAS_REGION_URLS": ["maas", "http://a/MAAS b", "http://a/MAAS;b"],
    **{name: ["relative/path", "/", "/a\nb", "~/key"] for name in NAMES if name.startswith("MAAS_TLS_")},
    "MAAS_INIT_MIGRATION_TIMEOUT": ["-1", "soon", "1e9"],
    "MAAS_INIT_BACKUP": ["on", "never", "AUTO", "auto off"],
    "POSTGRES_SSLMODE": ["yes", "VERIFY-FULL", "verify", "require\n"],
    "POSTGRES_SSLROOTCERT": ["/run/secrets/ca.crt", "-----BEGIN CERTIFICATE-----\n"],
    "POSTGRES_SSLCERT": ["/run/secrets/client.crt", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"],
    "POSTGRES_SSLKEY": ["/run/secrets/client.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END x"],
    "MAAS_INIT_LOG_FORMAT": ["JSON", "text", "console json", "json\n"],
    "MAAS_INIT_STATUS_PORT": ["0", "80", "5240", "5271", "8000", "65536", "http", "OFF\n", "no", "5290/tcp"],
    "PUID": ["0", "-1", "maas", "1000:1000", "4294967295", "1\n"],
    "PGID": ["-1", "maas", "1.5", "4294967295", "1\n"],
    "MAAS_INIT_DATABASE_INTERVAL": ["-1", "soon", "1e9", "nan", "inf", "1,5", "2\n"],
}


def test_every_variable_has_malformed_examples() -> None:
    assert MALFORMED.keys() == set(NAMES)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in MALFORMED.items() for text in texts])
def test_malformed_value_is_refused_with_what_is_wanted(name: str, text: str) -> None:
    told = problem(**{name: text})
    lines = told.splitlines()
    assert len(lines) == 3, "what was found cannot break the message into more lines"
    assert lines[0] == "cannot start: 1 setting needs attention"
    assert lines[1].startswith(f"  {name} ")
    assert lines[2] == f"      (give {next(v.hint for v in VARIABLES if v.name == name)})"
    assert len(told) < 600, "what was found is cut to a readable length"
    assert told.replace("\n", "").isprintable()


def test_items_of_maas_s_configuration_are_taken_by_its_own_names(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a secret value\n")
    found = settings(
        MAAS_SETTING_ntp_servers="ntp.example.com",
        MAAS_SETTING_vcenter_password_FILE=str(file),
        MAAS_SETTING_http_proxy="",
    )
    assert found.maas_settings == {"ntp_servers": "ntp.example.com", "vcenter_password": "a secret value"}
    assert "a secret value" in found.secrets()
    assert "ntp.example.com" not in found.secrets()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAAS_SETTING_upstream_dns", "1.1.1.1", '"1.1.1.1" is for an item that has a variable of its own'),
        ("MAAS_SETTING_maas_url", "http://maas:5240/MAAS", "(give MAAS_URL)"),
        ("MAAS_SETTING_NTP_SERVERS", "a", '"a" is for an item that MAAS cannot have'),
        ("MAAS_SETTING_", "a", '"a" is for an item that MAAS cannot have'),
        ("MAAS_SETTING_ntp_servers", "a\nb", '"a\\nb" holds a line break'),
        ("MAAS_SETTING_omapi_key", "hidden value\n", "(a value of 13 characters) holds a line break"),
        ("MAAS_SETTING_kernel_opts_FILE", "/nowhere", 'MAAS_SETTING_kernel_opts_FILE cannot be read from "/nowhere"'),
    ],
)
def test_items_that_cannot_be_taken_are_refused_with_the_reason(name: str, value: str, told: str) -> None:
    found = problem(**{name: value})
    assert told in found
    assert "hidden" not in found
    assert len(found.splitlines()) == 3


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_that_is_refused_is_not_shown(name: str) -> None:
    told = problem(**{name: PASSWORD + "\n"})
    assert PASSWORD not in told
    assert f"{len(PASSWORD) + 1} characters" in told, "its shape helps to find the mistake"


def test_password_in_an_address_is_not_shown() -> None:
    assert "hidden" not in problem(MAAS_URL="http://somebody:hidden@maas:5240/MAAS")


def test_plain_value_that_is_refused_is_shown() -> None:
    assert '"300.1.1.1"' in problem(POSTGRES_HOST="300.1.1.1")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(dict.fromkeys(NAMES, "\n"))
    told = str(caught.value)
    assert told.startswith(f"cannot start: {len(NAMES)} settings need attention")
    for name in NAMES:
        assert f"  {name} " in told


def test_nothing_set_names_everything_required() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({})
    assert [line.split()[0] for line in str(caught.value).splitlines()[1::2]] == REQUIRED_NAMES


# Files.


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("192.168.1.100", False), ("maas.example.com", False)],
)
def test_address_that_means_another_machine_to_everybody_is_recognized(host: str, local: bool) -> None:
    assert settings(MAAS_URL=f"http://{host}:5240/MAAS").maas_url.is_local is local


def test_certificate_and_key_go_together() -> None:
    cert, key = "/etc/maas/tls.crt", "/etc/maas/tls.key"
    assert settings().tls is None
    assert settings(MAAS_TLS_CERT_FILE=cert, MAAS_TLS_KEY_FILE=key).tls == Tls(Path(cert), Path(key), None)
    assert "MAAS_TLS_KEY_FILE is not set" in problem(MAAS_TLS_CERT_FILE=cert)
    assert "MAAS_TLS_CERT_FILE is not set" in problem(MAAS_TLS_KEY_FILE=key)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("MAAS_TLS_", "POSTGRES_SSL"))])
def test_value_may_lie_in_a_file(name: str, tmp_path: Path) -> None:
    example = next(v.default for v in VARIABLES if v.name == name) or (REQUIRED | RACK | NUMBERS)[name]
    file = tmp_path / "value"
    file.write_text(f"{example}\n")
    assert settings(**{name: "", f"{name}_FILE": str(file)}) == settings(**{name: example})


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"secret", "secret"), (b"secret\n", "secret"), (b"secret\r\n", "secret"), (b" se cret \n", " se cret ")],
)
def test_one_line_end_does_not_belong_to_the_value(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(content)
    found = settings(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(file))
    assert found.database.password.reveal() == expected


def test_second_line_end_belongs_to_the_value(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("secret\n\n")
    assert "7 characters" in problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(tmp_path / "value"))


def test_variable_and_file_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "value").write_text(PASSWORD)
    told = problem(POSTGRES_PASSWORD_FILE=str(tmp_path / "value"))
    assert "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set" in told
    assert told.count("  POSTGRES_PASSWORD") == 1, "it is not told a second time as missing"
    assert PASSWORD not in told


def test_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    told = problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(tmp_path / "absent"))
    assert f'  POSTGRES_PASSWORD_FILE cannot be read from "{tmp_path}/absent": No such file or directory\n' in told
    assert "is not set" not in told


def test_file_that_is_a_directory_is_told(tmp_path: Path) -> None:
    assert "Is a directory" in problem(MAAS_URL="", MAAS_URL_FILE=str(tmp_path))


def test_file_that_is_not_text_is_told_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(b"hidden\xff\xfe")
    told = problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(tmp_path / "value"))
    assert "it is not UTF-8 text" in told
    assert "hidden" not in told


def test_empty_file_counts_as_not_set(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("\n")
    told = problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(tmp_path / "value"))
    assert "POSTGRES_PASSWORD is not set" in told


def test_name_of_a_file_cannot_break_the_message(tmp_path: Path) -> None:
    told = problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=f"{tmp_path}/a\nb\x1b[31m")
    assert told.replace("\n", "").isprintable()
    assert len(told.splitlines()) == 3


def test_impossible_name_of_a_file_is_told() -> None:
    problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE="/" + "a" * 10_000)


# /run/secrets.


def with_secrets(root: Path, environ: Mapping[str, str] = {}, **secrets: str) -> RegionSettings:
    (root / "run/secrets").mkdir(parents=True)
    for name, text in secrets.items():
        (root / "run/secrets" / name).write_bytes(text.encode())
    required = {name: value for name, value in REQUIRED.items() if name.lower() not in secrets}
    return Settings.from_environ(required | dict(environ), Paths(root)).region()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_is_found_by_its_name(tmp_path: Path, end: str) -> None:
    found = with_secrets(tmp_path, postgres_password=f" {PASSWORD} {end}", maas_admin_email=f"me@example.com{end}")
    assert found.database.password == Secret(f" {PASSWORD} ")
    assert found.admin_email == "me@example.com"


def test_environment_comes_before_the_file_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from NAME_FILE\n")
    found = with_secrets(
        tmp_path,
        {"POSTGRES_PASSWORD": "from NAME", "MAAS_ADMIN_PASSWORD_FILE": str(tmp_path / "given")},
        postgres_password="from the secret",
        maas_admin_password="from the secret",
    )
    assert found.database.password == Secret("from NAME")
    assert found.admin_password == Secret("from NAME_FILE")


def test_empty_secret_counts_as_not_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="POSTGRES_PASSWORD is not set"):
        with_secrets(tmp_path, postgres_password="\n")


def test_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "run/secrets/postgres_password").mkdir(parents=True)
    environ = {name: value for name, value in REQUIRED.items() if name != "POSTGRES_PASSWORD"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ, Paths(tmp_path))
    assert 'POSTGRES_PASSWORD cannot be read from "' in str(caught.value)
    assert "run/secrets/postgres_password" in str(caught.value)
    assert "Is a directory" in str(caught.value)
    assert "is not set" not in str(caught.value)


def test_file_without_end_is_refused() -> None:
    assert "it is larger than 1048576 bytes" in problem(POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE="/dev/zero")


# TLS to the database.

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END PRIVATE KEY-----\n"


def test_tls_to_the_database_is_told_in_libpq_s_words(tmp_path: Path) -> None:
    found = settings(
        POSTGRES_HOST="db",
        POSTGRES_SSLMODE="verify-full",
        POSTGRES_SSLROOTCERT=CERTIFICATE,
        POSTGRES_SSLCERT=CERTIFICATE,
        POSTGRES_SSLKEY=KEY.rstrip("\n"),
    )
    directory = tmp_path / "run/maas-init/postgresql-tls"
    assert found.database.tls_environment(Paths(tmp_path)) == {
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(directory / "sslrootcert.pem"),
        "PGSSLCERT": str(directory / "sslcert.pem"),
        "PGSSLKEY": str(directory / "sslkey.pem"),
    }
    assert found.database.tls_files(Paths(tmp_path))["sslkey"] == (directory / "sslkey.pem", KEY)
    assert "MIIEvQ" not in repr(found)
    assert settings().database.tls_environment(Paths()) == {}


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"POSTGRES_SSLMODE": "verify-full"}, "POSTGRES_SSLROOTCERT is not set, and POSTGRES_SSLMODE is verify-full"),
        ({"POSTGRES_SSLMODE": "require", "POSTGRES_HOST": "embedded"}, "knows no TLS"),
        ({"POSTGRES_SSLMODE": "require", "POSTGRES_HOST": "/run/postgresql"}, "knows no TLS"),
        ({"POSTGRES_SSLROOTCERT": CERTIFICATE}, "is set, and POSTGRES_SSLMODE is not set, which may do without it"),
        ({"POSTGRES_SSLROOTCERT": CERTIFICATE, "POSTGRES_SSLMODE": "prefer"}, "which may do without it"),
        ({"POSTGRES_SSLCERT": CERTIFICATE, "POSTGRES_SSLMODE": "require"}, "POSTGRES_SSLKEY is not set"),
        ({"POSTGRES_SSLKEY": KEY, "POSTGRES_SSLMODE": "require"}, "POSTGRES_SSLCERT is not set"),
        ({"POSTGRES_SSLMODE": "yes"}, "is not a mode that PostgreSQL knows"),
        ({"POSTGRES_SSLMODE": "verify-ca", "POSTGRES_SSLROOTCERT": "/run/ca.crt"}, "holds no certificate in PEM form"),
    ],
)
def test_tls_that_does_not_go_together_is_told_once(environ: dict[str, str], told: str) -> None:
    found = problem(**({"POSTGRES_HOST": "db"} | environ))
    assert told in found
    assert "1 setting needs attention" in found


# Secrets hide.


def test_secret_does_not_show_itself() -> None:
    secret = Secret(PASSWORD)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        repr([secret]),
        repr({1: secret}),
    ):
        assert PASSWORD not in shown
        assert "********" in shown


def test_settings_do_not_show_their_secrets() -> None:
    found = settings(POSTGRES_PASSWORD=PASSWORD, MAAS_ADMIN_PASSWORD=PASSWORD, MAAS_REGION_SECRET="ab" * 16)
    assert PASSWORD not in repr(found)
    assert "abab" not in repr(found)


def test_password_in_the_address_of_a_proxy_is_a_secret_and_the_rest_of_it_is_not() -> None:
    found = settings(MAAS_SETTING_http_proxy="http://somebody:pass-word@proxy:3128/", MAAS_SETTING_ntp_servers="a:b@c")
    assert "pass-word" in found.secrets()
    assert not [secret for secret in found.secrets() if "proxy" in secret or secret == "b"]


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))


# What bootstrap and the listener read.


def test_settings_come_through_the_file_of_process_1_unchanged(tmp_path: Path) -> None:
    awkward = REQUIRED | {"POSTGRES_PASSWORD": "p%' 😀 $x", "MAAS_ADMIN_PASSWORD": 'a"\\', "MAAS_DNS_FORWARDER": "none"}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(values(awkward)[0]))
    assert Settings.load(file) == Settings.from_environ(awkward)


@pytest.mark.parametrize(
    "content", [None, "", "{", "[1]", '"text"', "7", "null", '{"POSTGRES_PORT": 5432}', '{"A": "b"}']
)
def test_file_of_process_1_that_is_not_ours_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError):
        Settings.load(file)


# Anything at all.


texts = st.text(max_size=80) | st.text(st.characters(max_codepoint=127), max_size=80)
near_misses = st.sampled_from([text for all_ in MALFORMED.values() for text in all_ if len(text) < 300])


@given(st.dictionaries(st.sampled_from(NAMES), texts | near_misses))
def test_any_text_gives_settings_or_a_settings_error(environ: dict[str, str]) -> None:
    try:
        found = settings(**environ)
    except SettingsError as error:
        told = str(error)
        assert told.startswith("cannot start: ")
        assert told.replace("\n", "").isprintable()
        for name in SECRET_NAMES:
            text = environ.get(name, "")
            elsewhere = any(text in other for plain, other in environ.items() if plain != name)
            assert len(text) < 20 or elsewhere or text not in told
    else:
        for text in (found.database.host, found.database.name, found.maas_url.text, found.admin_email):
            assert text.isascii() and text.isprintable(), "what was accepted can be written into any file"


@given(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\0"), max_size=200))
def test_any_file_name_gives_settings_or_a_settings_error(name: str, file: str) -> None:
    try:
        Settings.from_environ(REQUIRED | {name: "", f"{name}_FILE": file})
    except SettingsError as error:
        assert str(error).replace("\n", "").isprintable()


@given(st.dictionaries(st.sampled_from(NAMES), texts))
def test_settings_that_were_accepted_are_accepted_again_from_the_file(environ: dict[str, str]) -> None:
    everything = {name: text for name, text in (REQUIRED | environ).items() if text}
    try:
        found = Settings.from_environ(everything)
    except SettingsError:
        return
    assert Settings.from_values(json.loads(json.dumps(values(everything)[0]))) == found


def test_environment_that_is_not_utf_8_is_told() -> None:
    """Python gives such bytes as lone surrogates, which no file can hold."""
    awkward = os.fsdecode(b"caf\xe9")
    told = problem(POSTGRES_PASSWORD=awkward)
    assert "POSTGRES_PASSWORD" in told
