"""What the operator may set: the environment, parsed once into one frozen object that cannot lie.

Each variable may also be given as `<NAME>_FILE`, the path of a file that holds the value, or lie as a file of its
name, in lower case, in /run/secrets, where Compose and Swarm put secrets; one newline at the end of the file is not
part of the value. An empty variable counts as not set, because that is what Compose makes of `${NAME:-}`.

docs/reference/settings.md is generated from VARIABLES (`maas-init settings`).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import SettingsError
from .loglines import FORMATS
from .paths import Paths

EMBEDDED = "embedded"
SUPERUSER = "postgres"
"""Of the embedded server only, which lets in the user that runs it without a password (see postgresql.py)."""
LONGEST_SECRET = 1024
CONTAINER = Paths()
LARGEST_FILE = 1 << 20
"""Bytes of a file that holds a value: a bundle of all the world's root certificates is a quarter of it."""


class Secret:
    """A value that hides in logs, reprs and tracebacks; `reveal` is called where it is written or sent."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True)
class MaasUrl:
    """The address people, machines and rack controllers reach MAAS at."""

    text: str
    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether it means this machine to everybody, and so another one to each."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".").lower() in ("localhost", "localhost.localdomain")


# Parsers: a string in, a value out, or ValueError whose text completes the sentence `NAME: "found" ...`.


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("is not a port number")
    return int(text)


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("is not a whole number of at least 1")
    return int(text)


def _id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 2**32 - 1:
        raise ValueError("is not the number of a user or group")
    return int(text)


def _uid(text: str) -> int:
    if _id(text) == 0:
        raise ValueError("is root")
    return _id(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise ValueError("is not a number of seconds")
    return float(text)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("is neither true nor false")


_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        looks_like_ipv4 = re.fullmatch(r"[0-9.]+", text)
        name = re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?", text)
        return bool(name) and not looks_like_ipv4 and len(text) <= 253
    return True


def _database_host(text: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9_./-]{0,100}", text) or _is_host(text):
        return text
    raise ValueError("is neither a host name, an IP address, a socket directory nor the word embedded")


def _identifier(text: str) -> str:
    # MAAS and Temporal put these into YAML and connection strings: plain names only. PostgreSQL keeps pg_ to itself.
    if not re.fullmatch(r"(?!pg_)[A-Za-z_][A-Za-z0-9_-]{0,62}", text):
        raise ValueError("is not a plain PostgreSQL name")
    return text


def _secret(text: str) -> Secret:
    if len(text) > LONGEST_SECRET:
        raise ValueError(f"is longer than {LONGEST_SECRET} characters")
    if not text.isprintable():
        raise ValueError("holds a line break or another control character")
    return Secret(text)


def _database_password(text: str) -> Secret:
    # MAAS writes it into Temporal's YAML between double quotes, as it is.
    if '"' in text or "\\" in text:
        raise ValueError('holds a " or a \\, which MAAS cannot hand to Temporal')
    return _secret(text)


def _shared_secret(text: str) -> Secret:
    if not re.fullmatch(r"([0-9A-Fa-f]{2}){16,64}", text):
        raise ValueError("is not 32 to 128 hexadecimal digits")
    return Secret(text.lower())


def _username(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.@+-]{1,150}", text):
        raise ValueError("is not a user name that MAAS accepts")
    if text.startswith("-"):
        raise ValueError("starts with a dash")
    return text


def _email(text: str) -> str:
    if len(text) > 254 or not re.fullmatch(rf"[A-Za-z0-9_.+-]+@{_LABEL}(\.{_LABEL})*", text):
        raise ValueError("is not an e-mail address")
    if text.startswith("-"):
        raise ValueError("starts with a dash")
    return text


def _maas_url(text: str) -> MaasUrl:
    if not re.fullmatch(r"[A-Za-z0-9_.:/\[\]-]{1,300}", text):
        raise ValueError("is not a URL")
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ValueError("is not a URL with a valid port") from error
    host = parts.hostname or ""
    # Brackets are for IPv6 addresses and nothing else; newer Pythons check that themselves.
    if parts.scheme not in ("http", "https") or not _is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise ValueError("is not an http or https URL with a host")
    if parts.path.rstrip("/") != "/MAAS":
        raise ValueError("does not end with the path /MAAS")
    return MaasUrl(text=text.rstrip("/"), host=host, port=port)


def _maas_urls(text: str) -> tuple[MaasUrl, ...]:
    urls = tuple(_maas_url(word) for word in text.replace(",", " ").split())
    if not urls:
        raise ValueError("holds no URL")
    return urls


def _forwarders(text: str) -> tuple[str, ...]:
    if text.lower() == "none":
        return ()
    addresses = text.replace(",", " ").split()
    try:
        checked = tuple(str(ipaddress.ip_address(address)) for address in addresses)
    except ValueError:
        raise ValueError("is not a list of IP addresses") from None
    if not checked:
        raise ValueError("holds no IP address")
    return checked


WITHOUT_TLS = ("disable", "allow", "prefer")
WITH_TLS = ("require", "verify-ca", "verify-full")
VERIFIED = ("verify-ca", "verify-full")


def _sslmode(text: str) -> str:
    if text not in (*WITHOUT_TLS, *WITH_TLS):
        raise ValueError("is not a mode that PostgreSQL knows")
    return text


def _certificates(text: str) -> str:
    if not re.search(r"^-----BEGIN (TRUSTED )?CERTIFICATE-----$.*^-----END ", text, re.MULTILINE | re.DOTALL):
        raise ValueError("holds no certificate in PEM form")
    return text.rstrip("\n") + "\n"


def _private_key(text: str) -> Secret:
    if not re.search(r"^-----BEGIN ((RSA|EC) )?PRIVATE KEY-----$.*^-----END ", text, re.MULTILINE | re.DOTALL):
        raise ValueError("is not a private key in PEM form without a passphrase")
    return Secret(text.rstrip("\n") + "\n")


BACKUP = ("auto", "required", "off")


def _backup(text: str) -> str:
    if text not in BACKUP:
        raise ValueError("is not a way to back up")
    return text


def _path(text: str) -> Path:
    if not re.fullmatch(r"/[^\0-\x1f\x7f]{1,4000}", text):
        raise ValueError("is not an absolute path")
    return Path(text)


TAKEN_BY_MAAS = {*range(5239, 5285), 3128, 5443, 7911, 7912, 8000, 9000}


def _port_or_off(text: str) -> int:
    if text.lower() == "off":
        return 0
    port = _port(text)
    if port < 1024:
        raise ValueError("is a port that only privileged programs may use, and nginx is none here")
    if port in TAKEN_BY_MAAS:
        raise ValueError("is a port of MAAS's own")
    return port


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError("is not a form of the log")
    return text


@dataclass(frozen=True)
class Problem:
    """What is wrong with one variable: `name`: `what` (give `wanted`)."""

    name: str
    what: str
    wanted: str


@dataclass(frozen=True)
class Variable:
    """One environment variable: how it is called, read and explained."""

    name: str
    parse: Callable[[str], Any]
    meaning: str
    hint: str
    """Completes "give ...": what a good value looks like, with an example."""
    default: str = ""
    required: tuple[str, ...] = ()
    """The roles that cannot do without it."""
    secret: bool = False


WITH_REGION = ("region+rack", "region")
RACK_ALONE = ("rack",)
ROLES = (*WITH_REGION, *RACK_ALONE)


def _role(text: str) -> str:
    if text not in ROLES:
        raise ValueError("is not a role of MAAS")
    return text


VARIABLES = (
    Variable(
        "MAAS_ROLE",
        _role,
        "What this container is: a region controller, a rack controller, or both.",
        " or ".join(ROLES),
        default="region+rack",
    ),
    Variable(
        "POSTGRES_HOST",
        _database_host,
        "Where PostgreSQL runs; `embedded` runs one inside the container.",
        "a host name, an IP address, the directory of a Unix socket, or embedded",
        default="postgres",
    ),
    Variable("POSTGRES_PORT", _port, "Its port.", "1 to 65535, for example 5432", default="5432"),
    Variable(
        "POSTGRES_DB",
        _identifier,
        "Name of MAAS's database.",
        "letters, digits, _ and -, at most 63, for example maasdb",
        default="maasdb",
    ),
    Variable(
        "POSTGRES_USER",
        _identifier,
        "Owner of that database.",
        "letters, digits, _ and -, at most 63, for example maas",
        default="maas",
    ),
    Variable(
        "POSTGRES_PASSWORD",
        _database_password,
        "The owner's password.",
        f'one line of printable characters, at most {LONGEST_SECRET}, without " and \\',
        required=WITH_REGION,
        secret=True,
    ),
    Variable(
        "POSTGRES_SSLMODE",
        _sslmode,
        "Whether connections to PostgreSQL are encrypted, and the server's certificate checked. Unset, MAAS's own "
        "are as `prefer`, and Temporal's as `disable`.",
        " or ".join((*WITHOUT_TLS, *WITH_TLS)),
    ),
    Variable(
        "POSTGRES_SSLROOTCERT",
        _certificates,
        "The certificates of the authorities that may vouch for the server.",
        "PEM text, best from a file: POSTGRES_SSLROOTCERT_FILE=/run/secrets/ca.crt",
    ),
    Variable(
        "POSTGRES_SSLCERT",
        _certificates,
        "The certificate that MAAS shows to the server, where that asks for one.",
        "PEM text, best from a file: POSTGRES_SSLCERT_FILE=/run/secrets/client.crt",
    ),
    Variable(
        "POSTGRES_SSLKEY",
        _private_key,
        "Its key.",
        "PEM text, best from a file: POSTGRES_SSLKEY_FILE=/run/secrets/client.key",
        secret=True,
    ),
    Variable(
        "MAAS_URL",
        _maas_url,
        "The address at which people, machines and racks reach MAAS.",
        "the address of this host as machines see it, for example http://192.168.1.100:5240/MAAS",
        required=WITH_REGION,
    ),
    Variable(
        "MAAS_ADMIN_USERNAME",
        _username,
        "The first administrator.",
        "letters, digits and . _ @ + -, at most 150, for example admin",
        default="admin",
    ),
    Variable(
        "MAAS_ADMIN_PASSWORD",
        _secret,
        "The first administrator's password; used when the account is created.",
        f"one line of printable characters, at most {LONGEST_SECRET}",
        required=WITH_REGION,
        secret=True,
    ),
    Variable(
        "MAAS_ADMIN_EMAIL",
        _email,
        "The first administrator's e-mail address.",
        "an address such as admin@example.com",
        required=WITH_REGION,
    ),
    Variable(
        "MAAS_REGION_URLS",
        _maas_urls,
        "The regions that a rack controller without one of its own connects to.",
        "one or more addresses separated by spaces, for example http://192.168.1.100:5240/MAAS",
        required=RACK_ALONE,
    ),
    Variable(
        "MAAS_REGION_SECRET",
        _shared_secret,
        "The secret that region and rack controllers share; a region makes one if it is not set.",
        "32 to 128 hexadecimal digits, for example from: openssl rand -hex 16",
        required=RACK_ALONE,
        secret=True,
    ),
    Variable(
        "MAAS_DNS_FORWARDER",
        _forwarders,
        "Resolvers that bind9 asks for names outside MAAS.",
        "IP addresses separated by spaces or commas, or none",
        default="8.8.8.8",
    ),
    Variable(
        "MAAS_BOOT_IMAGES_AUTO_IMPORT",
        _boolean,
        "Whether MAAS downloads boot images by itself.",
        "true or false",
        default="true",
    ),
    Variable(
        "MAAS_TLS_CERT_FILE",
        _path,
        "The certificate with which MAAS serves port 5443, in PEM form; a new file is used at once.",
        "an absolute path, for example /run/secrets/maas.crt",
    ),
    Variable("MAAS_TLS_KEY_FILE", _path, "Its key.", "an absolute path, for example /run/secrets/maas.key"),
    Variable(
        "MAAS_TLS_CACERT_FILE",
        _path,
        "The certificates between it and the root that clients know.",
        "an absolute path, for example /run/secrets/ca.crt",
    ),
    Variable("MAAS_DEBUG", _boolean, "Whether MAAS logs in detail.", "true or false", default="false"),
    Variable(
        "MAAS_INIT_DATABASE_ATTEMPTS",
        _whole_number,
        "How often PostgreSQL is tried before the container ends with code 75.",
        "a whole number, for example 30",
        default="30",
    ),
    Variable(
        "MAAS_INIT_DATABASE_INTERVAL",
        _seconds,
        "Seconds between two of these attempts.",
        "a number of seconds, for example 2",
        default="2",
    ),
    Variable(
        "MAAS_INIT_MIGRATION_TIMEOUT",
        _seconds,
        "Seconds without any progress after which an upgrade of the schema, a backup or a restore fails.",
        "a number of seconds, for example 3600",
        default="3600",
    ),
    Variable(
        "MAAS_INIT_BACKUP",
        _backup,
        "Whether the database is saved before an upgrade or a restore; `auto` goes on where pg_dump is too old for it.",
        " or ".join(BACKUP),
        default="auto",
    ),
    Variable(
        "MAAS_INIT_LOG_FORMAT",
        _log_format,
        "The form of the container's log.",
        " or ".join(FORMATS),
        default="console",
    ),
    Variable(
        "MAAS_INIT_STATUS_PORT",
        _port_or_off,
        "The port of the status page and the metrics, which everybody on the network may read.",
        "1024 to 65535, but none of MAAS's own ports (5239 to 5284, 5443, 8000 and others), or off",
        default="5290",
    ),
    Variable(
        "PUID",
        _uid,
        "As which user everything runs in a container that is started as root; without it as the image's (568).",
        "the number of a user other than root, for example 1000",
    ),
    Variable("PGID", _id, "As which group.", "the number of a group, for example 1000"),
)

SETTING = "MAAS_SETTING_"
"""Begins the name of a variable whose rest is MAAS's own name for an item of its configuration."""
ELSEWHERE = {
    "upstream_dns": "MAAS_DNS_FORWARDER",
    "boot_images_auto_import": "MAAS_BOOT_IMAGES_AUTO_IMPORT",
    "maas_url": "MAAS_URL",
    "rpc_shared_secret": "MAAS_REGION_SECRET",
    "tls_port": "MAAS_TLS_CERT_FILE",
}
"""Items of MAAS's configuration that have a variable of their own."""


def variables(names: Iterable[str]) -> tuple[Variable, ...]:
    """Return VARIABLES, and one for each item of MAAS's configuration that `names`, of an environment, have."""
    items = sorted({name.removesuffix("_FILE") for name in names if name.startswith(SETTING) and name.isprintable()})
    return (*VARIABLES, *map(_item, items))


_PASSWORD_IN_URL = re.compile("://[^/@:]*:([^/@]+)@")
"""As in the address of a proxy."""


def _item(name: str) -> Variable:
    item = name.removeprefix(SETTING)
    return Variable(
        name,
        _setting(item),
        "An item of MAAS's configuration.",
        ELSEWHERE.get(item, f"one line of text, under MAAS's own name as in {SETTING}ntp_servers"),
        secret=bool(re.search("password|secret|_key$", item)),
    )


def _setting(item: str) -> Callable[[str], str]:
    """Return the parser of an item's value: what is right in it only MAAS knows, when it is asked to set it."""

    def parse(text: str) -> str:
        if item in ELSEWHERE:
            raise ValueError("is for an item that has a variable of its own")
        if not re.fullmatch("[a-z0-9_]{1,100}", item):
            raise ValueError("is for an item that MAAS cannot have: their names are of a-z, 0-9 and _")
        return _secret(text).reveal()

    return parse


@dataclass(frozen=True)
class Database:
    """How MAAS and we reach PostgreSQL."""

    host: str
    port: int
    name: str
    user: str
    password: Secret
    sslmode: str = ""
    """Empty where nothing was said."""
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: Secret | None = None

    @property
    def embedded(self) -> bool:
        """Whether the database runs inside this container."""
        return self.host == EMBEDDED

    def tls_files(self, where: Paths) -> dict[str, tuple[Path, str]]:
        """Return where each certificate and key lies for those who connect, by libpq's name, and what it holds."""
        key = self.sslkey.reveal() if self.sslkey else ""
        held = {"sslrootcert": self.sslrootcert, "sslcert": self.sslcert, "sslkey": key}
        return {name: (where.postgresql_tls / f"{name}.pem", text) for name, text in held.items() if text}

    def tls(self, where: Paths) -> dict[str, str]:
        """Return what was said about TLS in libpq's words."""
        mode = {"sslmode": self.sslmode} if self.sslmode else {}
        return mode | {name: os.fspath(path) for name, (path, _) in self.tls_files(where).items()}

    def tls_environment(self, where: Paths) -> dict[str, str]:
        """Return the same as environment variables: all that regiond, the API server and pg_dump listen to."""
        return {f"PG{name.upper()}": value for name, value in self.tls(where).items()}


@dataclass(frozen=True)
class Tls:
    """Where the operator's certificate lies."""

    cert: Path
    key: Path
    cacert: Path | None


@dataclass(frozen=True)
class Settings:
    """What every container is told; all that a rack controller needs. See VARIABLES for the meaning of each."""

    role: str
    region_urls: tuple[MaasUrl, ...]
    region_secret: Secret | None
    debug: bool
    log_format: str
    status_port: int
    """0 when nobody wants a status page."""
    uid: int | None
    gid: int | None

    @property
    def roles(self) -> frozenset[str]:
        """The parts of MAAS that run here: region, rack or both."""
        return frozenset(self.role.split("+"))

    def secrets(self) -> list[str]:
        """Return every value that is nobody's business."""
        return [self.region_secret.reveal()] if self.region_secret else []

    def region(self) -> RegionSettings:
        """Return what the region is told. Raises SettingsError when there is none in this container."""
        if isinstance(self, RegionSettings):
            return self
        raise SettingsError(
            "cannot do that here: this container is a rack controller alone",
            hint="do it where MAAS_ROLE is region+rack or region",
        )

    @staticmethod
    def from_environ(environ: Mapping[str, str], where: Paths = CONTAINER) -> Settings:
        """Parse `environ`, and the secrets that lie in files.

        Raises SettingsError that names every problem, with the shape of what was found (never a secret's value),
        what is wanted and what to do.
        """
        found, problems = values(environ, where)
        return Settings.from_values(found, problems)

    @staticmethod
    def from_values(raw: Mapping[str, str], problems: Sequence[Problem] = ()) -> Settings:
        """Parse the texts of the variables that are set; `problems` are those already found (see `values`)."""
        parsed: dict[str, Any] = {}
        told = {problem.name.removesuffix("_FILE") for problem in problems}
        problems = list(problems)
        role = raw.get("MAAS_ROLE", "")
        role = role if role in ROLES else WITH_REGION[0]
        for variable in variables(raw):
            text = raw.get(variable.name) or variable.default
            if not text:
                parsed[variable.name] = None
                if role in variable.required and variable.name not in told:
                    problems.append(Problem(variable.name, "is not set", variable.hint))
                continue
            try:
                parsed[variable.name] = variable.parse(text)
            except ValueError as reason:
                problems.append(Problem(variable.name, f"{_shape(variable, text)} {reason}", variable.hint))
        if parsed.get("MAAS_TLS_CERT_FILE") and not parsed.get("MAAS_TLS_KEY_FILE"):
            problems.append(Problem("MAAS_TLS_KEY_FILE", "is not set, and MAAS_TLS_CERT_FILE is", "both or neither"))
        if parsed.get("MAAS_TLS_KEY_FILE") and not parsed.get("MAAS_TLS_CERT_FILE"):
            problems.append(Problem("MAAS_TLS_CERT_FILE", "is not set, and MAAS_TLS_KEY_FILE is", "both or neither"))
        problems += _tls_problems(parsed)
        if problems:
            raise SettingsError(_told(problems))
        common = {
            "role": parsed["MAAS_ROLE"],
            "region_urls": parsed["MAAS_REGION_URLS"] or (),
            "region_secret": parsed["MAAS_REGION_SECRET"],
            "debug": parsed["MAAS_DEBUG"],
            "log_format": parsed["MAAS_INIT_LOG_FORMAT"],
            "status_port": parsed["MAAS_INIT_STATUS_PORT"],
            "uid": parsed["PUID"],
            "gid": parsed["PGID"],
        }
        if parsed["MAAS_ROLE"] in RACK_ALONE:
            return Settings(**common)
        return RegionSettings(
            **common,
            database=Database(
                host=parsed["POSTGRES_HOST"],
                port=parsed["POSTGRES_PORT"],
                name=parsed["POSTGRES_DB"],
                user=parsed["POSTGRES_USER"],
                password=parsed["POSTGRES_PASSWORD"],
                sslmode=parsed["POSTGRES_SSLMODE"] or "",
                sslrootcert=parsed["POSTGRES_SSLROOTCERT"] or "",
                sslcert=parsed["POSTGRES_SSLCERT"] or "",
                sslkey=parsed["POSTGRES_SSLKEY"],
            ),
            maas_url=parsed["MAAS_URL"],
            tls=Tls(parsed["MAAS_TLS_CERT_FILE"], parsed["MAAS_TLS_KEY_FILE"], parsed["MAAS_TLS_CACERT_FILE"])
            if parsed["MAAS_TLS_CERT_FILE"]
            else None,
            admin_username=parsed["MAAS_ADMIN_USERNAME"],
            admin_password=parsed["MAAS_ADMIN_PASSWORD"],
            admin_email=parsed["MAAS_ADMIN_EMAIL"],
            dns_forwarders=parsed["MAAS_DNS_FORWARDER"],
            boot_images_auto_import=parsed["MAAS_BOOT_IMAGES_AUTO_IMPORT"],
            database_attempts=parsed["MAAS_INIT_DATABASE_ATTEMPTS"],
            database_interval=parsed["MAAS_INIT_DATABASE_INTERVAL"],
            migration_timeout=parsed["MAAS_INIT_MIGRATION_TIMEOUT"],
            backup=parsed["MAAS_INIT_BACKUP"],
            maas_settings={
                name.removeprefix(SETTING): text for name, text in parsed.items() if name.startswith(SETTING) and text
            },
        )

    @staticmethod
    def load(file: Path) -> Settings:
        """Read what PID 1 wrote for bootstrap and the listener.

        Raises SettingsError when the file is missing or not ours.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
                raise ValueError("it is not an object of texts")
            return Settings.from_values(found)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"cannot read the settings of this container from {file}: {error}",
                hint="the file is written by maas-init run at start; run this inside a running container",
            ) from error


@dataclass(frozen=True)
class RegionSettings(Settings):
    """What a container with a region controller is told besides."""

    database: Database
    maas_url: MaasUrl
    tls: Tls | None
    admin_username: str
    admin_password: Secret
    admin_email: str
    dns_forwarders: tuple[str, ...]
    boot_images_auto_import: bool
    database_attempts: int
    database_interval: float
    migration_timeout: float
    backup: str
    maas_settings: Mapping[str, str]
    """Items of MAAS's configuration by MAAS's own names."""

    def secrets(self) -> list[str]:
        own = (self.database.password, self.admin_password, self.database.sslkey)
        items = [text for name, text in self.maas_settings.items() if _item(SETTING + name).secret]
        items += [each for text in self.maas_settings.values() for each in _PASSWORD_IN_URL.findall(text)]
        return [*super().secrets(), *(secret.reveal() for secret in own if secret), *items]


def values(environ: Mapping[str, str], where: Paths = CONTAINER) -> tuple[dict[str, str], list[Problem]]:
    """Return the text of every variable that is set, and what is wrong with the files some of them are in.

    What the environment says comes before what lies in /run/secrets.
    """
    found = {}
    problems = []
    files = given_files(environ, where)
    for variable in variables(environ):
        name, file = variable.name, files.get(variable.name)
        if environ.get(name) and file:
            problems.append(Problem(name, f"and {name}_FILE are both set", "one of them"))
        elif environ.get(name):
            found[name] = environ[name]
        elif file:
            try:
                found[name] = _content(file, where.credentials / name)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                what = f"cannot be read from {_quoted(str(file))}: {reason}"
                told = f"{name}_FILE" if environ.get(f"{name}_FILE") else name
                problems.append(Problem(told, what, "the path of a readable file"))
    return found, problems


def given_files(environ: Mapping[str, str], where: Paths) -> dict[str, Path]:
    """Return the file of every variable that is given as one."""
    found = {}
    for variable in variables(environ):
        name, secret = variable.name, where.secrets / variable.name.lower()
        if environ.get(f"{name}_FILE"):
            found[name] = Path(environ[f"{name}_FILE"])
        elif not environ.get(name) and os.path.lexists(secret):
            found[name] = secret
    return found


def service_environment(settings: Settings) -> dict[str, str]:
    """Return what `condition_environment` in a service file may ask for."""
    region = settings if isinstance(settings, RegionSettings) else None
    return {
        "POSTGRES_HOST": region.database.host if region else "",
        "MAAS_ROLE": settings.role,
        "MAAS_TLS": "yes" if region and region.tls else "no",
    }


def _content(file: Path, taken: Path) -> str:
    """Return what a file holds, without the newline that editors and `echo` put at its end.

    What only root may read was `taken` before root was left (privileges.py).
    """
    try:
        content = _beginning(file)
    except PermissionError:
        if not taken.exists():
            raise
        content = _beginning(taken)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _beginning(file: Path) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(LARGEST_FILE + 1)


def _tls_problems(parsed: Mapping[str, Any]) -> list[Problem]:
    """Return what does not go together about TLS to the database."""
    mode, host = parsed.get("POSTGRES_SSLMODE") or "", parsed.get("POSTGRES_HOST") or ""
    found = []
    if mode in WITH_TLS and (host == EMBEDDED or host.startswith("/")):
        what = f"is {mode}, and a database on a Unix socket knows no TLS"
        found.append(Problem("POSTGRES_SSLMODE", what, "none, or the POSTGRES_HOST of a server"))
    if mode in VERIFIED and "POSTGRES_SSLROOTCERT" in parsed and not parsed["POSTGRES_SSLROOTCERT"]:
        what = f"is not set, and POSTGRES_SSLMODE is {mode}"
        found.append(Problem("POSTGRES_SSLROOTCERT", what, "the authority's certificate: POSTGRES_SSLROOTCERT_FILE"))
    if mode not in WITH_TLS and "POSTGRES_SSLMODE" in parsed:
        for name in ("POSTGRES_SSLROOTCERT", "POSTGRES_SSLCERT"):
            if parsed.get(name):
                what = f"is set, and POSTGRES_SSLMODE is {mode or 'not set'}, which may do without it"
                found.append(Problem(name, what, "POSTGRES_SSLMODE=verify-full with it"))
    if "POSTGRES_SSLCERT" in parsed and "POSTGRES_SSLKEY" in parsed:
        for name, other in (("POSTGRES_SSLKEY", "POSTGRES_SSLCERT"), ("POSTGRES_SSLCERT", "POSTGRES_SSLKEY")):
            if parsed[other] and not parsed[name]:
                found.append(Problem(name, f"is not set, and {other} is", "both or neither"))
    return found


def _told(problems: Sequence[Problem]) -> str:
    count = "1 setting needs" if len(problems) == 1 else f"{len(problems)} settings need"
    lines = [f"  {problem.name} {problem.what}\n      (give {problem.wanted})" for problem in problems]
    return "\n".join([f"cannot start: {count} attention", *lines])


def _shape(variable: Variable, text: str) -> str:
    """Describe what was found: quoted and cut for plain values, only its length for secrets."""
    if variable.secret:
        return f"(a value of {len(text)} characters)"
    text = re.sub(r"(?<=:)[^:@/]+(?=@)", "********", text)  # a password inside a URL
    return _quoted(text) if len(text) <= 60 else f"{_quoted(text[:60])} ... ({len(text)} characters)"


def _quoted(text: str) -> str:
    """Return `text` between double quotes, with what cannot be printed escaped."""
    return '"' + repr(text)[1:-1] + '"'
