"""One container, started once with the embedded database: everything is there, answers, and heals."""

from __future__ import annotations

import html
import json
import re
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from .conftest import Run
from .docker import ADMIN_PASSWORD, POSTGRES_PASSWORD, Container, host_pids, until

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
SECRETS = (POSTGRES_PASSWORD, ADMIN_PASSWORD)

RUNNING = {
    *("health", "postgresql", "bind9", "http", "proxy", "syslog", "ntp", "discovery"),
    *("regiond", "apiserver", "temporal", "temporal-worker", "rackd", "agent"),
}
NOT_RUNNING = {"bootstrap", "tls", "dhcpd", "dhcpd6"}


class ArgumentWatch(threading.Thread):
    """Reads the command line of every process of a container, over and over, from its first moment."""

    def __init__(self, container: Container) -> None:
        super().__init__(daemon=True)
        self._container = container
        self.ended = threading.Event()
        self.seen: set[bytes] = set()

    def run(self) -> None:
        while not self.ended.is_set():
            for pid in host_pids(self._container):
                try:
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                except OSError:
                    continue


@pytest.fixture(scope="module")
def watch_and_container(new: Run) -> Iterator[tuple[ArgumentWatch, Container]]:
    items = {"MAAS_SETTING_node_timeout": "45", "MAAS_SETTING_node_timeuot": "45"}
    container = new(**items).run()
    watch = ArgumentWatch(container)
    watch.start()
    container.until_healthy()
    # rackd asks for the agent when it has written its configuration.
    until(lambda: set(container.processes()) == RUNNING, "every service")
    container.until_healthy()
    watch.ended.set()
    watch.join()
    yield watch, container


@pytest.fixture(scope="module")
def maas(watch_and_container: tuple[ArgumentWatch, Container]) -> Container:
    return watch_and_container[1]


def test_status_page_shows_every_service_and_whether_machines_can_boot(maas: Container) -> None:
    page = maas.execute("curl", "-sSf", "http://127.0.0.1:5290/")
    told = json.loads(maas.execute("curl", "-sSf", "http://127.0.0.1:5290/status.json"))
    for name, service in told["services"].items():
        assert f'<th scope="row">{name}: {html.escape(service["description"])}</th>' in page
    assert all(told["services"][name]["boot"]["ready"] for name in RUNNING - {"health"})
    assert told["pxe"]["ready"] == "no", "nothing was imported"
    assert "has not imported boot loaders and images" in page and "a bridge inside the host" in page
    assert any("service.ready" in each["text"] for each in told["events"])
    assert not [secret for secret in SECRETS if secret in page or secret in json.dumps(told)]


def test_prometheus_reads_the_metrics(maas: Container) -> None:
    def families() -> dict[str, list[Sample]]:
        text = maas.execute("curl", "-sSf", "http://127.0.0.1:5290/metrics", check=False)
        return {family.name: family.samples for family in text_string_to_metric_families(text)}

    def answering() -> set[str]:
        return {each.labels["service"] for each in families().get("maas_init_check_success", []) if each.value}

    until(lambda: answering() >= {"regiond", "rackd", "bind9", "proxy"}, "metrics of what answers by now")
    documented = set(
        re.findall(r"^\| `(maas_init_\w+)`", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    )
    assert {sample.name for samples in families().values() for sample in samples} == documented


def test_supervisorctl_shows_every_service_by_maas_own_name(maas: Container) -> None:
    lines = maas.execute("supervisorctl", "status", check=False).splitlines()

    assert {line.split()[0] for line in lines} == RUNNING | NOT_RUNNING
    assert set(maas.processes()) == RUNNING


def test_no_process_runs_as_root(maas: Container) -> None:
    for pid in host_pids(maas):
        status = Path(f"/proc/{pid}/status").read_text()
        uids = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
        assert set(uids) == {"568"}, status


def test_named_answers_for_the_zone_of_maas(maas: Container) -> None:
    answer = subprocess.run(
        ("dig", "+short", "+time=5", f"@{maas.address()}", "maas", "SOA"), stdout=subprocess.PIPE, text=True, check=True
    )

    assert len(answer.stdout.split()) == 7, answer.stdout


def test_the_api_answers_on_port_5240(maas: Container) -> None:
    with urllib.request.urlopen(f"http://{maas.port('5240/tcp')}/MAAS/api/2.0/version/", timeout=30) as answer:
        assert json.load(answer)["version"]


def test_squid_passes_a_request_on(maas: Container) -> None:
    through_squid = urllib.request.ProxyHandler({"http": f"http://{maas.port('8000/tcp')}"})
    opener = urllib.request.build_opener(through_squid)
    refusals: list[str] = []

    def passed_on() -> bool:
        try:
            with opener.open(f"http://{maas.address()}:5240/MAAS/api/2.0/version/", timeout=30) as answer:
                assert json.load(answer)["version"]
                assert "squid" in answer.headers["Via"]
                return True
        except urllib.error.HTTPError as error:
            refusals.append(f"{error}: {error.read().decode()}")
        except OSError as error:
            refusals.append(repr(error))
        return False

    # MAAS lets only its subnets through, and learns of them from the rack a moment after everything is ready. It has
    # squid read that anew, and squid closes its port while it does.
    try:
        until(passed_on, "an answer through squid")
    except AssertionError as error:
        raise AssertionError(f"{error}: {refusals[-1]}") from error


def test_rsyslogd_takes_a_line_and_the_container_s_log_shows_it(maas: Container) -> None:
    host, _, port = maas.port("5247/tcp").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(b"<13>Nov 22 22:22:22 node7 kernel: is this heard?\n")

    until(lambda: "is this heard?" in maas.logs(), "the line in the log")


def test_what_maas_logs_for_people_is_in_the_container_s_log(maas: Container) -> None:
    assert "maas.service_monitor" in maas.logs()


def test_an_item_of_maas_s_configuration_is_set_and_a_wrong_one_told(maas: Container) -> None:
    assert maas.sql("SELECT value FROM maasserver_config WHERE name = 'node_timeout'").strip() == "45"
    told = 'MAAS_SETTING_node_timeuot reason="node_timeuot is not a valid config setting."'
    assert told in maas.logs()
    assert "MAAS_SETTING_node_timeuot: node_timeuot is not a valid" in maas.execute("maas-init", "doctor", check=False)


def test_chronyd_answers(maas: Container) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(struct.pack("!B47x", 0x23), (maas.address(), 123))
        assert client.recv(1024)[0] & 7 == 4


def test_the_administrator_can_log_in(maas: Container) -> None:
    form = urllib.parse.urlencode({"username": "admin", "password": ADMIN_PASSWORD}).encode()
    url = f"http://{maas.port('5240/tcp')}/MAAS/accounts/authenticate/"

    with urllib.request.urlopen(url, data=form, timeout=30) as answer:
        assert json.load(answer)["token_key"]


def test_no_image_import_was_started(maas: Container) -> None:
    assert "it is disabled" in maas.logs()


def test_secrets_are_in_no_argument_list(watch_and_container: tuple[ArgumentWatch, Container]) -> None:
    watch, _ = watch_and_container

    assert any(b"dbupgrade" in line for line in watch.seen), "the watch saw nothing of the bootstrap"
    assert any(b"createadmin" in line for line in watch.seen)
    for line in watch.seen:
        for secret in SECRETS:
            assert secret.encode() not in line


def test_secrets_are_in_no_log_line(maas: Container) -> None:
    logs = maas.logs()

    for secret in SECRETS:
        assert secret not in logs


def test_secrets_are_in_no_world_readable_file(maas: Container) -> None:
    script = r"""
import os, sys
secrets = [bytes.fromhex(word) for word in sys.argv[1:]]
for top, directories, names in os.walk("/", followlinks=False):
    if top == "/":
        directories[:] = [each for each in directories if each not in ("proc", "sys", "dev", "usr", "opt")]
    for name in names:
        path = os.path.join(top, name)
        try:
            if not os.path.isfile(path) or os.path.islink(path) or not os.stat(path).st_mode & 0o007:
                continue
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError:
            continue
        print("read", path)
        if any(secret in content for secret in secrets):
            print("LEAK", path)
"""
    argv = [secret.encode().hex() for secret in SECRETS]
    found = maas.execute("python3", "-", *argv, user="0", stdin=script).splitlines()

    assert "read /run/maas-init/status.json" in found, "the search looked nowhere"
    assert [line for line in found if line.startswith("LEAK")] == []


def test_secrets_are_in_no_environment_but_that_of_process_1(maas: Container) -> None:
    first = int(maas.inspect(".State.Pid"))
    for pid in host_pids(maas):
        if pid != first:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            for secret in SECRETS:
                assert secret.encode() not in environment, Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("service", sorted(RUNNING))
def test_a_killed_service_comes_back_and_the_others_stay(maas: Container, service: str) -> None:
    maas.until_healthy()
    before = maas.processes()
    maas.execute("kill", "-9", str(before[service]))

    until(lambda: maas.processes().get(service, before[service]) != before[service], f"a new {service}")
    until(lambda: set(maas.processes()) == RUNNING, "every service")
    maas.until_healthy()

    # rackd takes the agent with it, as its unit says; regiond restarts what it writes a configuration for.
    taken_along = {"agent"} if service == "rackd" else set()
    restarted_by_maas = {"syslog", "ntp"} if service == "regiond" else set()
    after = maas.processes()
    changed = {name for name in RUNNING if before[name] != after[name]}
    assert {service} | taken_along <= changed <= {service} | taken_along | restarted_by_maas


def test_an_operator_s_stop_is_respected(maas: Container) -> None:
    maas.until_healthy()
    # Not one that MAAS itself looks after: its monitor asks for those again, and that is the later wish.
    maas.execute("supervisorctl", "stop", "apiserver")
    until(lambda: maas.status()["services"]["apiserver"]["level"] == "off", "apiserver off")

    assert "operator wants it off" in maas.execute("maas-init", "why", "apiserver")
    assert "apiserver" not in maas.processes()

    maas.execute("supervisorctl", "start", "apiserver")
    maas.until_healthy()
