"""The simulator keeps the contract: what can be seen without a container."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from simulator_rig import GENEROUS, HERE, IS_ROOT, PYTHON, UNPRIVILEGED, FakePebble, Maas, until

PACKAGES = {
    "maas-agent",
    "maas-cli",
    "maas-common",
    "maas-dhcp",
    "maas-netmon",
    "maas-proxy",
    "maas-rack-controller",
    "maas-region-api",
    "python3-django-maas",
    "python3-maas-client",
    "python3-maas-provisioningserver",
    "temporal",
}
REGION_SERVICES = {
    "bind9",
    "ntp",
    "syslog",
    "proxy",
    "http",
    "temporal",
    "temporal-worker",
}
EXECUTABLES = (
    "usr/sbin/regiond",
    "usr/sbin/rackd",
    "usr/sbin/maas-region",
    "usr/sbin/maas-rack",
    "usr/sbin/maas-apiserver",
    "usr/sbin/maas-temporal-worker",
    "usr/sbin/maas-agent",
    "usr/sbin/maas-netmon",
    "usr/sbin/maas-dhcp-helper",
    "usr/sbin/maas.power",
    "usr/sbin/temporal-server",
    "usr/bin/temporal-sql-tool",
    "usr/bin/maas",
    "usr/lib/maas/maas-common",
    "usr/lib/maas/maas-write-file",
    "usr/lib/maas/maas-delete-file",
    "usr/lib/maas/beacon-monitor",
    "usr/share/maas/machine-resources/amd64",
)
SUDO_SERVICES = {
    "bind9": "kill -s SIGKILL,start,status",
    "chrony": "restart,start,status",
    "maas-agent": "reload,restart,start,status",
    "maas-dhcpd": "restart,start,status,stop",
    "maas-dhcpd6": "restart,start,status,stop",
    "maas-http": "reload,restart,start,status",
    "maas-proxy": "reload,restart,start,status,stop",
    "maas-rackd": "restart",
    "maas-syslog": "restart,start,status",
    "maas-temporal": "reload,restart,start,status",
    "maas-temporal-worker": "reload,restart,start,status",
}


def test_every_package_is_built_and_says_that_it_is_a_simulator(packages: dict[str, Path]) -> None:
    assert packages.keys() == PACKAGES
    for path in packages.values():
        said = subprocess.check_output(["dpkg-deb", "-f", path, "Description"], text=True)
        assert "SIMULATOR, test equipment" in said


def test_the_same_input_gives_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", f"umask 077; {HERE}/build {tmp_path}"], check=True, stdout=subprocess.DEVNULL)
    for path in packages.values():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_version_can_be_built(tmp_path: Path) -> None:
    subprocess.run(
        [HERE / "build", tmp_path, "--version", "1:3.5.14-0simulator1"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    made = tmp_path / "maas-region-api_3.5.14-0simulator1_all.deb"
    depends = subprocess.check_output(["dpkg-deb", "-f", made, "Depends"], text=True)
    assert "maas-common (= 1:3.5.14-0simulator1)" in depends


def test_programs_lie_where_the_contract_says(unpacked: Path) -> None:
    for name in EXECUTABLES:
        assert os.access(unpacked / name, os.X_OK), name
    for folder in ("image-storage", "certificates", "tftp_root", "temporal", "dhcp", "prometheus"):
        assert (unpacked / "var/lib/maas" / folder).is_dir(), folder
    assert "/run/maas-http.pid" in (unpacked / "var/lib/maas/http/nginx.conf").read_text()


def test_sudoers_allow_what_maas_allows(unpacked: Path) -> None:
    services: dict[str, set[str]] = {}
    programs = set()
    for file in (unpacked / "etc/sudoers.d").glob("99-maas-*"):
        for line in file.read_text().splitlines():
            if not (match := re.fullmatch(r"maas ALL= NOPASSWD(?::SETENV)?: (\S+)(.*)", line)):
                assert not line or line.startswith("#")
            elif match[1] == "/bin/systemctl":
                verb, unit = match[2].strip().rsplit(" ", 1)
                services.setdefault(unit, set()).add(verb)
            else:
                programs.add(match[1])
    assert {u: ",".join(sorted(v)) for u, v in services.items()} == SUDO_SERVICES
    refresh = "/usr/lib/python3/dist-packages/provisioningserver/refresh/"
    assert {p for p in programs if p.startswith(refresh)} == {
        refresh + path.name
        for path in (unpacked / refresh.lstrip("/")).iterdir()
        if path.suffix != ".py" and path.is_file()
    }


def test_units_bind_dhcp_and_agent_to_rackd(unpacked: Path) -> None:
    units = unpacked / "lib/systemd/system"
    for name in ("maas-dhcpd", "maas-dhcpd6", "maas-agent"):
        assert "BindsTo=maas-rackd.service" in (units / f"{name}.service").read_text()
    rackd = (units / "maas-rackd.service").read_text()
    for file in ("dhcpd.sock", "dhcpd.conf", "dhcpd6.conf"):
        assert f"/var/lib/maas/{file}" in rackd
    assert "Restart=" not in (units / "maas-temporal.service").read_text()


@pytest.mark.parametrize(
    "program", ["maas-region dbupgrade", "maas-rack config", "maas-common setup-dns", "maas createadmin"]
)
def test_command_lines_refuse_everybody_but_root(maas: Maas, program: str) -> None:
    name, *words = program.split()
    (path,) = [p for p in EXECUTABLES if p.endswith(f"/{name}")]
    result = subprocess.run(
        [PYTHON, maas.program(path), *words],
        env=maas.environ,
        capture_output=True,
        text=True,
        **UNPRIVILEGED,
    )
    assert result.returncode == 1
    assert "as root" in result.stderr


def test_write_file_writes_only_what_is_on_its_list(maas: Maas) -> None:
    helper = maas.program("usr/lib/maas/maas-write-file")
    target = maas.data / "dhcpd.conf"
    assert maas.run(PYTHON, helper, str(target), "0640", stdin="x", check=True)
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("x", 0o640)
    assert maas.run(PYTHON, helper, str(maas.data / "secret"), "0640").returncode == 2
    assert maas.run(PYTHON, helper, str(target), "4755").returncode == 2


@pytest.mark.skipif(not IS_ROOT, reason="only root can make another's file")
def test_a_rewritten_file_keeps_its_owner(maas: Maas) -> None:
    target = maas.data / "dhcpd.conf"
    target.write_text("old")
    os.chown(target, 1234, 1234)
    helper = maas.program("usr/lib/maas/maas-write-file")
    maas.run(PYTHON, helper, str(target), "0640", stdin="new", check=True)
    assert (target.stat().st_uid, target.read_text()) == (1234, "new")


def test_local_config_is_flat_yaml_with_mode_0640(maas: Maas) -> None:
    conf = maas.data / "etc/maas/regiond.conf"
    maas.django("local_config_set", check=True)
    assert (conf.read_text(), conf.stat().st_mode & 0o777) == ("", 0o640)
    maas.django("local_config_set", "--database-port", "5433", "--debug", "true", check=True)
    assert conf.read_text() == "database_port: 5433\ndebug: true\n"
    assert maas.django("local_config_set", "--debug", "perhaps").returncode == 1
    said = maas.django("local_config_get", "--database-port", "--maas-url", "--json").stdout
    assert json.loads(said) == {"database_port": 5433, "maas_url": "http://localhost:5240/MAAS"}


Sql = Callable[[str], str]


def test_dbupgrade_tells_each_migration_and_is_idempotent(maas: Maas, database: Sql) -> None:
    first = maas.django("dbupgrade", check=True).stdout
    assert first.count("... OK") == int(database("SELECT count(*) FROM django_migrations"))
    assert first.endswith("Running Temporal migrations:\n  Applied all migrations.\n")
    assert "Applying maasserver.0330_bootresourcefile_filename_on_disk... OK" in first
    assert database("SELECT curr_version FROM temporal.schema_version") == "1.2"
    second = maas.django("dbupgrade", check=True).stdout
    assert "No migrations to apply." in second
    assert "not yet reflected" not in second
    assert database("SELECT count(*) FROM pg_trigger WHERE tgname = 'sys_config'") == "1"


def test_a_killed_dbupgrade_leaves_a_half_that_the_next_one_finishes(maas: Maas, database: Sql) -> None:
    environ = maas.environ | {"MAAS_SIM_MIGRATION_DELAY": "0.1"}
    argv = [PYTHON, "-m", "django", "dbupgrade"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:  # live, line by line
            if "maasserver.0014" in line:
                break
        process.kill()
    done = int(database("SELECT count(*) FROM django_migrations"))
    rest = maas.django("dbupgrade", check=True).stdout.count("... OK")
    assert done > 0
    assert int(database("SELECT count(*) FROM django_migrations")) == done + rest
    assert rest > 5


def test_a_failing_migration_is_a_traceback_and_exit_code_1(maas: Maas, database: Sql) -> None:
    (maas.data / "switches/dbupgrade-fails-at").write_text("maasserver.0311_image_sync_tracking\n")
    result = maas.django("dbupgrade")
    assert result.returncode == 1
    assert "simulated failure of maasserver.0311_image_sync_tracking" in result.stderr


def test_temporal_gets_the_password_on_its_command_line_only_when_django_has_it(maas: Maas, database: Sql) -> None:
    maas.django("dbupgrade", check=True)
    tool = maas.data / "path/usr/bin/temporal-sql-tool"
    tool.parent.mkdir(parents=True)
    tool.write_text(f'#!/bin/sh\necho "$@" >> {maas.data}/argv\n')
    tool.chmod(0o755)
    maas.environ["MAAS_PATH"] = str(maas.data / "path")
    maas.django("dbupgrade", check=True)
    argv = (maas.data / "argv").read_text()
    assert "--endpoint @ --port 5432" in argv
    assert "--password" not in argv
    conf = maas.data / "etc/maas/regiond.conf"
    conf.write_text(conf.read_text() + "database_pass: opensesame\n")
    maas.django("dbupgrade", check=True)
    assert "--password opensesame" in (maas.data / "argv").read_text()


def test_createadmin_asks_on_stdin_and_fails_the_second_time(maas: Maas, database: Sql) -> None:
    maas.django("dbupgrade", check=True)
    words = ("createadmin", "--username", "admin", "--email", "a@b.c", "--ssh-import", "")
    argv = ["setsid", "--wait", PYTHON, "-m", "django", *words]
    assert maas.run(*argv, stdin="secret\nsecret\n").returncode == 0
    again = maas.run(*argv, stdin="secret\nsecret\n")
    assert again.returncode == 1
    assert "A user with the email a@b.c already exists." in again.stderr
    key = maas.django("apikey", "--username", "admin", check=True).stdout.strip()
    assert re.fullmatch(r"\w{18}:\w{18}:\w{32}", key)
    assert maas.django("apikey", "--username", "nobody").returncode == 1
    assert maas.django("changepasswords", stdin="admin:new\n").returncode == 0


def test_config_and_secrets_have_the_signatures_that_bootstrap_uses(maas: Maas, database: Sql) -> None:
    maas.django("dbupgrade", check=True)
    code = """
from maasserver.models import Config
from maasserver.secrets import SecretManager
assert Config.objects.get_config("boot_images_auto_import") is True
Config.objects.set_config("boot_images_auto_import", False)
assert Config.objects.get_config("boot_images_auto_import") is False
secrets = SecretManager()
assert secrets.get_simple_secret("rpc-shared", default=None) is None
secrets.set_simple_secret("rpc-shared", "abcd")
assert secrets.get_simple_secret("rpc-shared") == "abcd"
"""
    maas.django("shell", "-c", code, check=True)
    assert database("SELECT value FROM maasserver_secret WHERE path = 'global/rpc-shared'") == ('{"secret": "abcd"}')


# --- the daemons -----------------------------------------------------------


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


class Region:
    """A running regiond, its output and its API."""

    def __init__(self, maas: Maas) -> None:
        self.maas = maas
        self.log = maas.data / "regiond.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [maas.program("usr/sbin/regiond")],
                env=maas.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ask(self, path: str, key: str = "", method: str = "GET", body: str = "") -> tuple[int, str]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if key:
            consumer, token, secret = key.split(":")
            headers["Authorization"] = (
                'OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", '
                f'oauth_consumer_key="{consumer}", oauth_token="{token}", '
                f'oauth_signature="%26{secret}", oauth_nonce="1", '
                f'oauth_timestamp="{int(time.time())}"'
            )
        socket_path = self.maas.data / "maas-regiond-webapp.sock.1"
        with closing(_UnixConnection(socket_path)) as connection:
            connection.request(method, f"/MAAS/{path}", body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def answers(self) -> bool:
        try:
            return self.ask("api/2.0/version/")[0] == 200
        except OSError:
            return False


@pytest.fixture
def region(maas: Maas, database: Sql, pebble: FakePebble) -> Iterator[Callable[[], Region]]:
    """A function that starts regiond with a migrated database and fake helpers."""
    maas.django("dbupgrade", check=True)
    scripts = {
        "sudo": 'while :; do case "$1" in -*) shift ;; *) break ;; esac; done\nexec "$@"',
        "systemd-detect-virt": "exit 0",
        "rndc": "exit 0",
        "wget": "exit 1",
    }
    for name, text in scripts.items():
        script = maas.data / "bin" / name
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
    status = maas.data / "dpkg-status"
    status.write_text("Package: maas-region-api\nStatus: install ok installed\nVersion: 1:3.5.13-0simulator1\n")
    (maas.data / "switches/dpkg-status").write_text(str(status))
    (maas.data / "switches/regiond-stop-seconds").write_text("0.1")
    (maas.data / "switches/dns-check-rounds").write_text("1")
    started: list[Region] = []

    def start() -> Region:
        started.append(Region(maas))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()


def test_regiond_asks_the_state_before_and_right_after_it_starts_a_service(
    region: Callable[[], Region], pebble: FakePebble
) -> None:
    running = region()
    until(lambda: len(pebble.active) >= len(REGION_SERVICES) and running.answers(), within=GENEROUS)
    until(lambda: "SIGHUP http" in pebble.asked and "restart syslog" in pebble.asked, within=GENEROUS)
    assert pebble.active == REGION_SERVICES
    for name in REGION_SERVICES - {"proxy"}:
        mine = [asked for asked in pebble.asked if asked.endswith(f" {name}")]
        assert mine[0] == f"status {name}"
        acted = next(n for n, asked in enumerate(mine) if not asked.startswith("status"))
        assert mine[acted + 1].startswith(("status", "restart", "start"))


def test_the_api_knows_users_and_settings(region: Callable[[], Region], maas: Maas, database: Sql) -> None:
    maas.django("createadmin", "--username", "admin", "--email", "a@b.c", "--password", "pw", check=True)
    key = maas.django("apikey", "--username", "admin", check=True).stdout.strip()
    running = region()
    until(running.answers, within=GENEROUS)
    assert json.loads(running.ask("api/2.0/version/")[1])["version"] == "3.5.13"
    assert json.loads(running.ask("api/2.0/users/?op=whoami", key)[1])["username"] == "admin"
    assert running.ask("api/2.0/users/?op=whoami")[0] == 401
    assert running.ask("api/2.0/users/?op=whoami", key[:-1] + "?")[0] == 401
    assert running.ask("api/2.0/users/?op=nonsense", key)[0] == 400
    name = "name=upstream_dns&value=192.0.2.1"
    assert running.ask("api/2.0/maas/op-set_config", key, "POST", name) == (200, "OK")
    assert running.ask("api/2.0/maas/?op=get_config&name=upstream_dns", key)[1] == '"192.0.2.1"'
    assert running.ask("api/2.0/maas/op-set_config", key, "POST", "name=maas_url&value=x")[0] == 400
    login = "username=admin&password=pw"
    assert running.ask("accounts/authenticate/", method="POST", body=login)[0] == 200
    assert running.ask("accounts/authenticate/", method="POST", body=login + "x")[0] == 403
    assert database("SELECT is_superuser FROM auth_user WHERE username = 'MAAS'") == "t"


def test_no_import_starts_when_it_was_switched_off_before(
    region: Callable[[], Region], maas: Maas, database: Sql
) -> None:
    code = "from maasserver.models import Config; Config.objects.set_config('boot_images_auto_import', False)"
    maas.django("shell", "-c", code, check=True)
    running = region()
    until(lambda: "Skipping periodic import" in running.log.read_text(), within=GENEROUS)
    assert database("SELECT count(*) FROM maas_simulator_import") == "0"


def test_workers_are_replaced_and_end_with_the_master(region: Callable[[], Region]) -> None:
    running = region()
    until(running.answers, within=GENEROUS)

    def workers() -> set[int]:
        listing = subprocess.run(
            ["pgrep", "-P", str(running.process.pid), "-f", "sbin/regiond"],
            capture_output=True,
            text=True,
        )
        return {int(pid) for pid in listing.stdout.split()}

    def two_without(victims: set[int]) -> set[int]:
        # What it is about to run has its command line for a moment, too.
        return until(lambda: len(found := workers() - victims) == 2 and found, within=GENEROUS)

    victim = min(two_without(set()))
    os.kill(victim, signal.SIGKILL)
    last = two_without({victim})
    running.process.kill()
    running.process.wait()
    until(
        lambda: (
            not any(
                Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()
                for pid in last
            )
        ),
        within=GENEROUS,
    )


def test_regiond_ends_on_sigterm(region: Callable[[], Region]) -> None:
    running = region()
    until(running.answers, within=GENEROUS)
    running.process.terminate()
    assert running.process.wait(5) == 0


def test_uvloop_makes_regiond_deaf_to_sigterm(region: Callable[[], Region], maas: Maas) -> None:
    (maas.data / "no-uvloop/uvloop.py").write_text("")
    running = region()
    until((maas.data / "secret").exists, within=GENEROUS)
    running.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(2)


@pytest.mark.parametrize("broken", ["image-storage", "switch", "dpkg", "sudo"])
def test_start_up_loops_for_ever_while_the_process_looks_alive(
    region: Callable[[], Region], maas: Maas, broken: str
) -> None:
    match broken:
        case "image-storage":
            (maas.data / "image-storage").rmdir()
        case "switch":
            (maas.data / "switches/regiond-startup-loops").touch()
        case "dpkg":
            (maas.data / "dpkg-status").write_text("")
        case "sudo":
            (maas.data / "bin/sudo").write_text("#!/bin/sh\nexit 1\n")
    running = region()
    until(lambda: "Error during start-up." in running.log.read_text(), within=GENEROUS)
    assert running.process.poll() is None
    assert not running.answers()
    running.process.terminate()
    assert running.process.wait(5) == 0


def test_the_systemd_back_end_reads_what_systemctl_prints(maas: Maas) -> None:
    sudo = maas.data / "bin/sudo"
    code = """
import sys
from provisioningserver.service_monitor import Service, Systemd
try:
    print(*Systemd().state(Service("a", "maas-http", "http")), sep="/")
except Exception as error:
    print(type(error).__name__)
"""
    for printed, meant in {
        "  Active: active (running) since now": "on/running",
        "  Active: inactive (dead)": "off/dead",
        "  Active: failed (Result: exit-code)": "dead/Result: exit-code",
        "  Active: activating (start)": "dead/start",
        "Loaded: not-found (Reason)\nActive: inactive (dead)": "ServiceUnknownError",
        "": "ServiceParsingError",
    }.items():
        sudo.write_text(f"#!/bin/sh\ncat <<'E'\nx.service\n{printed}\nE\nexit 3\n")
        sudo.chmod(0o755)
        assert maas.run(PYTHON, "-c", code).stdout.strip() == meant


# --- the rack --------------------------------------------------------------


def _rackd(maas: Maas) -> subprocess.Popen[bytes]:
    log = (maas.data / "rackd.log").open("wb")
    with log:
        return subprocess.Popen([maas.program("usr/sbin/rackd")], env=maas.environ, stdout=log, stderr=log)


def test_rackd_without_a_secret_idles_for_ever(maas: Maas) -> None:
    maas.environ["MAAS_SIM_SECRET_WAIT_SECONDS"] = "0.1"
    process = _rackd(maas)
    until(lambda: "No shared secret" in (maas.data / "rackd.log").read_text(), within=GENEROUS)
    assert process.poll() is None
    process.terminate()
    assert process.wait(5) == 0


def test_a_left_over_lease_socket_stops_lease_reports_only(maas: Maas) -> None:
    (maas.data / "secret").write_text("00" * 16)
    (maas.data / "dhcpd.sock").touch()
    (maas.data / "etc/maas/rackd.conf").write_text(
        f"maas_url: [http://127.0.0.1:9/MAAS]\ntftp_port: 0\ntftp_root: {maas.data}/tftp\n"
    )
    process = _rackd(maas)
    until(lambda: "Failed to listen on dhcpd.sock" in (maas.data / "rackd.log").read_text(), 10)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_pid_lock_of_a_recycled_pid_counts_as_held(maas: Maas) -> None:
    code = """
import os
from provisioningserver.networks import PidLock
lock = PidLock("maas:networks-monitoring")
os.symlink(str(os.getpid()), lock.path)
print(lock.take())
lock.release()
os.symlink("4194304", lock.path)
print(lock.take())
"""
    assert maas.run(PYTHON, "-c", code).stdout.split() == ["False", "True"]


def test_named_options_are_edited_as_maas_does(maas: Maas) -> None:
    options = maas.data / "etc/bind/named.conf.options"
    options.write_text(
        'options {\n    directory "/var/cache/bind"; // kept\n    dnssec-validation auto;\n'
        "    forwarders { 192.0.2.1; };\n    listen-on-v6 { any; };\n};\n"
    )
    words = ("-m", "provisioningserver", "edit-named-options", "--config-path", str(options))
    maas.run(PYTHON, *words, check=True)
    text = options.read_text()
    assert 'include "' in text and 'directory "/var/cache/bind";' in text
    assert "forwarders {" not in text and "dnssec-validation auto" not in text
    assert len(list(options.parent.glob("named.conf.options.*"))) == 1
    maas.run(PYTHON, *words, check=True)
    assert len(list(options.parent.glob("named.conf.options.*"))) == 1
    options.write_text("// nothing here\n")
    broken = maas.run(PYTHON, *words)
    assert (broken.returncode, "Can't find options" in broken.stderr) == (0, True)
