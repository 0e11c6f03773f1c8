"""Configuration files: what matters in their text, and what the daemons themselves say of it."""

from __future__ import annotations

import configparser
import json
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from harness import REQUIRED
from supervisor.options import ServerOptions

from maas_init import configure, services
from maas_init.configure import http, ntp, supervisord, syslog
from maas_init.configure.file import ConfigFile
from maas_init.errors import ServiceFileError
from maas_init.paths import Paths
from maas_init.services import Catalogue, Service
from maas_init.settings import Settings

OURS = Path(__file__).parent.parent / "supervisord.conf.d"


@pytest.fixture
def root() -> Iterator[Path]:
    """A short name: nginx's socket lies below it."""
    directory = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def judge(*command: object) -> str:
    """Let a daemon look at its configuration; return what it says."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# http


@pytest.fixture
def web(root: Path) -> Paths:
    where = Paths(root)
    for directory in ("/run/maas-init/http", "/var/lib/maas/http", "/etc/nginx", "/var/log/maas/http"):
        where.at(directory).mkdir(parents=True)
    shutil.copy("/etc/nginx/mime.types", where.at("/etc/nginx/mime.types"))
    return where


def test_nginx_accepts_its_frame(web: Paths) -> None:
    file = http.nginx_conf(web, with_region=True, status_port=5290)
    file.path.write_text(file.text)
    told = judge("nginx", "-t", "-e", "stderr", "-c", file.path)
    assert "warn" not in told, told


def test_nginx_accepts_its_frame_with_a_site_of_maas(web: Paths) -> None:
    file = http.nginx_conf(web, with_region=True, status_port=5290)
    file.path.write_text(file.text)
    site = f"""\
        upstream regiond-webapp {{
            server unix:{web.maas_data}/maas-regiond-webapp.sock.0;
        }}
        server {{
            listen unix:{web.run}/site.sock;
            access_log syslog:server=unix:{web.maas_data}/log.sock,facility=local7,tag=maas_nginx combined;
            location /MAAS/ {{
                proxy_pass http://regiond-webapp;
            }}
        }}
    """
    (web.maas_data / "http/regiond.nginx.conf").write_text(dedent(site))
    judge("nginx", "-t", "-e", "stderr", "-c", file.path)
    (web.maas_data / "http/broken.nginx.conf").write_text("nonsense;\n")
    with pytest.raises(AssertionError, match="nonsense"):
        judge("nginx", "-t", "-e", "stderr", "-c", file.path)  # the sites are really read


def test_nginx_writes_only_where_our_user_may() -> None:
    text = http.nginx_conf(Paths(), with_region=True, status_port=5290).text
    assert "\nuser " not in text
    for temporary in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"):
        assert f"{temporary}_temp_path /var/lib/maas/http/" in text
    assert "pid /run/maas-http.pid;" in text
    assert "/var/log/nginx" not in text
    assert "include /var/lib/maas/http/*.nginx.conf;" in text
    assert "listen unix:/run/maas-init/http/alive.sock;" in text, "the probe asks there"


def test_rack_alone_leaves_the_region_s_port_alone() -> None:
    text = http.nginx_conf(Paths(), with_region=False, status_port=0).text
    assert "5240" not in text
    assert "5290" not in text, "nobody wants a status page"


def test_probe_of_nginx_asks_where_nginx_listens() -> None:
    assert "unix:/run/maas-init/http/alive.sock:" in (OURS / "http.conf").read_text()


# ntp


def test_chronyd_accepts_its_skeleton(root: Path) -> None:
    where = Paths(root)
    where.at("/var/lib/chrony").mkdir(parents=True)
    for file in ntp.chrony_conf(where):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text)
    told = judge("chronyd", "-p", "-f", where.at("/etc/chrony/chrony.conf"))
    assert "allow 127.0.0.1" in told, "our own line is read through confdir"
    assert f"driftfile {root}/var/lib/chrony/chrony.drift" in told


def test_chrony_skeleton_is_laid_only_where_maas_wrote_nothing() -> None:
    skeleton, own = ntp.chrony_conf(Paths())
    assert (skeleton.path, skeleton.keep_existing) == (Path("/etc/chrony/chrony.conf"), True)
    assert (own.path, own.keep_existing) == (Path("/etc/chrony/conf.d/maas-init.conf"), False)


# syslog


def test_rsyslogd_accepts_the_skeleton_as_it_is_translated(root: Path) -> None:
    where = Paths(root)
    (where.maas_data / "rsyslog").mkdir(parents=True)
    file = syslog.rsyslog_conf(where)
    file.path.write_text(file.text)
    translation = Path(configure.__file__).parent.parent / "bridge" / "rsyslog.sed"
    translated = judge("sed", "-f", translation, file.path)
    assert "omjournal" not in translated
    (root / "translated.conf").write_text(translated)
    told = judge("/usr/sbin/rsyslogd", "-N1", "-f", root / "translated.conf")
    assert "error" not in told.lower(), told
    assert file.keep_existing, "regiond writes the real one"


# supervisord


def test_supervisord_accepts_its_configuration_with_all_our_services(root: Path) -> None:
    where = Paths(root)
    where.run.mkdir(parents=True)
    # It wants the directories of all logs to exist.
    for file in OURS.glob("*.conf"):
        (root / file.name).write_text(file.read_text().replace("/var/log/maas/", f"{root}/"))
    settings = Settings.from_environ(REQUIRED)
    catalogue = services.catalogue(settings, root)
    conf = supervisord.supervisord_conf(where, catalogue, settings)
    conf.path.write_text(conf.text)
    options = ServerOptions()
    options.configfile = str(conf.path)
    options.process_config(do_usage=False)
    names = {program.name for group in options.process_group_configs for program in group.process_configs}
    assert names == {"health"} | {service.name for service in catalogue.services if not service.watched_only}
    assert options.nodaemon
    assert options.silent, "our plug-in prints its log"


def test_our_part_is_told_what_each_service_is_given() -> None:
    given = (
        Service("one", ambient_capabilities=("net_raw",), pass_environment=("A", "B")),
        Service("two", ambient_capabilities=("net_bind_service", "net_raw")),
        Service("three"),
    )
    parser = configparser.RawConfigParser()
    parser.read_string(
        supervisord.supervisord_conf(Paths(), Catalogue(given, ()), Settings.from_environ(REQUIRED)).text
    )
    told = parser["rpcinterface:maas_init"]
    assert told["ambient_capabilities"].split() == [
        *("one:net_raw", "two:net_bind_service,net_raw", "health:net_bind_service,net_raw")
    ]
    assert told["pass_environment"] == "one:A,B"


def test_supervisord_is_reached_only_through_a_socket_of_this_user() -> None:
    settings = Settings.from_environ(REQUIRED | {"MAAS_INIT_LOG_FORMAT": "json"})
    parser = configparser.RawConfigParser()
    parser.read_string(supervisord.supervisord_conf(Paths(), Catalogue((), ()), settings).text)
    assert parser["unix_http_server"]["chmod"] == "0700"
    assert "inet_http_server" not in parser
    assert parser["rpcinterface:maas_init"]["log_format"] == "json"
    assert parser["supervisorctl"]["serverurl"] == "unix:///run/maas-init/supervisor.sock"


# All together.


def everything(root: Path, **environ: str) -> None:
    environ = REQUIRED | environ
    settings = Settings.from_environ(environ)
    configure.everything(settings, Paths(root), environ, services.catalogue(settings, OURS))


def test_url_that_no_machine_can_reach_is_said(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    everything(root)
    assert "maas_url.local" not in capfd.readouterr().err
    everything(root, MAAS_URL="http://localhost:5240/MAAS")
    assert "maas_url.local" in capfd.readouterr().err


def snapshot(root: Path) -> dict[Path, tuple[int, str]]:
    return {path: (path.stat().st_ino, path.read_text()) for path in root.rglob("*") if path.is_file()}


def test_second_start_changes_nothing(root: Path) -> None:
    everything(root)
    before = snapshot(root)
    everything(root)
    assert snapshot(root) == before


def test_settings_for_the_others_are_for_this_user_only_and_whole(root: Path) -> None:
    everything(root, POSTGRES_PASSWORD="p% '$x 😀")
    file = Paths(root).settings
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["POSTGRES_PASSWORD"] == "p% '$x 😀"
    assert Settings.load(file).region().database.password.reveal() == "p% '$x 😀"


def test_settings_from_files_are_written_as_values(root: Path) -> None:
    secret = root / "secret"
    secret.write_text("from a file\n")
    everything(root, POSTGRES_PASSWORD="", POSTGRES_PASSWORD_FILE=str(secret))
    secret.unlink()
    assert Settings.load(Paths(root).settings).region().database.password.reveal() == "from a file"


def test_no_other_file_holds_a_secret(root: Path) -> None:
    everything(root, POSTGRES_PASSWORD="one-secret", MAAS_ADMIN_PASSWORD="other-secret", MAAS_REGION_SECRET="ab" * 16)
    for path, (_, text) in snapshot(root).items():
        if path not in (Paths(root).settings, Paths(root).masks):
            assert not [secret for secret in ("one-secret", "other-secret", "ab" * 16) if secret in text], path


def test_what_the_log_must_not_show_is_for_this_user_only(root: Path) -> None:
    everything(root, POSTGRES_PASSWORD="one-secret", MAAS_ADMIN_PASSWORD="other-secret", MAAS_REGION_SECRET="AB" * 16)
    file = Paths(root).masks
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(json.loads(file.read_text())) == {"one-secret", "other-secret", "ab" * 16}


def test_certificates_for_the_database_are_files_that_libpq_takes(root: Path) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    tls = {"POSTGRES_SSLROOTCERT": certificate, "POSTGRES_SSLCERT": certificate, "POSTGRES_SSLKEY": key}
    everything(root, POSTGRES_HOST="db", POSTGRES_SSLMODE="verify-full", **tls)
    directory = Paths(root).postgresql_tls
    assert {file.name: file.read_text() for file in directory.iterdir()} == {
        "sslrootcert.pem": certificate,
        "sslcert.pem": certificate,
        "sslkey.pem": key,
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    conf = Paths(root).supervisord_conf.read_text()
    assert f'environment = PGSSLMODE="verify-full",PGSSLROOTCERT="{directory}/sslrootcert.pem",' in conf


def test_bad_service_file_is_refused_before_anything_is_written(root: Path) -> None:
    bad = root / "service-files"
    bad.mkdir()
    (bad / "odd.conf").write_text("[service:odd]\n")
    with pytest.raises(ServiceFileError):
        services.catalogue(Settings.from_environ(REQUIRED), bad)


def test_skeleton_is_laid_only_where_there_is_nothing(root: Path) -> None:
    path = root / "maas.conf"
    configure.write([ConfigFile(path, "skeleton", keep_existing=True)])
    assert path.read_text() == "skeleton"
    path.write_text("MAAS's own")
    configure.write([ConfigFile(path, "skeleton", keep_existing=True)])
    assert path.read_text() == "MAAS's own"


def test_own_file_is_written_again_when_somebody_changed_it(root: Path) -> None:
    path = root / "own.conf"
    configure.write([ConfigFile(path, "own", mode=0o640)])
    path.write_text("changed")
    configure.write([ConfigFile(path, "own", mode=0o640)])
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("own", 0o640)
