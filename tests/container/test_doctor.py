"""The doctor against planted faults: it names each, in a running container, an unwell one and before a start."""

from __future__ import annotations

import io
import json
import re
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from . import docker
from .conftest import Run
from .docker import ADMIN_PASSWORD, CAPABILITIES, POSTGRES_PASSWORD, SETTINGS, Container, until

pytestmark = pytest.mark.container

Findings = dict[str, dict[str, Any]]

# Of every container on the network of the tests, which leads nowhere.
OF_THE_NETWORK = {"network-mode", "name-servers"}


def read(text: str) -> Findings:
    assert text.startswith("["), text
    return {each["name"]: each for each in json.loads(text)}


def examine(container: Container, *options: str) -> Findings:
    return read(container.execute("maas-init", "doctor", "--json", *options, check=False))


def before_a_start(
    image: str, network: str, *options: str, doctor: tuple[str, ...] = ("--json",), **settings: str
) -> Findings:
    """Run the doctor in a container of its own."""
    return read(
        docker.docker(
            *("run", "--rm", "--hostname", "maas"),
            *(() if "--network" in options else ("--network", network)),
            *(word for name in CAPABILITIES for word in ("--cap-add", name)),
            *(word for name, value in (SETTINGS | settings).items() for word in ("--env", f"{name}={value}")),
            *options,
            image,
            "doctor",
            *doctor,
            check=False,
        )
    )


def bad(findings: Findings) -> set[str]:
    return {name for name, each in findings.items() if each["level"] in ("warning", "failure")}


@pytest.fixture
def volumes() -> Iterator[tuple[str, ...]]:
    """Options that mount volumes with a name."""
    names = {f"maas-init-test-{secrets.token_hex(4)}": path for path in ("/etc/maas", "/var/lib/maas")}
    yield tuple(word for name, path in names.items() for word in ("--volume", f"{name}:{path}"))
    docker.docker("volume", "rm", *names)


# A container that runs, with faults that its options bring.

OPTIONS = (
    *("--hostname", "0123456789ab", "--memory", "1900m", "--pids-limit", "500", "--shm-size", "16m"),
    *("--ulimit", "nofile=3000:3000", "--tmpfs", "/tmp/maas:size=20m,uid=568,gid=568"),
)
BY_ITS_OPTIONS = {
    "hostname": "0123456789ab",
    "memory-limit": "1900 MiB",
    "process-limit": "500",
    "shared-memory": "16 MiB",
    "open-files": "3000",
    "disk-space": "/tmp/maas",
    "volumes-kept": "/var/lib/maas is a volume without a name",
    "network-mode": "eth0",
    "maas-url": "localhost",
    "dns-forwarders": "192.0.2.53",
    "tls-certificate": "/run/secrets/gone.crt",
}


@pytest.fixture(scope="module")
def running(new: Run) -> Container:
    tls = {"MAAS_TLS_CERT_FILE": "/run/secrets/gone.crt", "MAAS_TLS_KEY_FILE": "/run/secrets/gone.key"}
    maas = new(*OPTIONS, MAAS_DNS_FORWARDER="192.0.2.53", **tls).run()
    # It is asked while it starts, too: whatever is there by then, that is no crash.
    until(lambda: "supervisord.pid" in maas.execute("ls", "/run/maas-init", check=False), "supervisord")
    assert examine(maas)["settings"]["level"] == "ok"
    until(lambda: maas.status()["services"].get("tftp", {}).get("level") == "ready", "the last of its parts")
    until(lambda: maas.status()["services"]["api"]["level"] == "ready", "its region")
    return maas


@pytest.fixture(scope="module")
def at_first(running: Container) -> Findings:
    return examine(running)


@pytest.mark.parametrize("check", BY_ITS_OPTIONS)
def test_fault_of_the_options_is_named(at_first: Findings, check: str) -> None:
    found = at_first[check]
    assert found["level"] in ("warning", "failure"), found
    assert BY_ITS_OPTIONS[check] in found["evidence"]
    assert found["meaning"] and found["remedy"]


def test_nothing_else_is_named(at_first: Findings) -> None:
    # The listener watches disk space as well.
    named = bad(at_first) - OF_THE_NETWORK
    wanted = set(BY_ITS_OPTIONS) - OF_THE_NETWORK | {"services-answer"}
    assert named == wanted, {name: at_first[name]["evidence"] for name in named - wanted}
    assert "disk-space" in at_first["services-answer"]["evidence"]


# Faults that come while it runs.

PLANTED = {
    "volumes-owner": ("touch /var/lib/maas/of-root", "/var/lib/maas/of-root (0)"),
    "secret-files": ("chmod 644 /etc/maas/regiond.conf", "/etc/maas/regiond.conf (644)"),
    "configuration-files": ("sed -i 's/^debug: .*/debug: true/' /etc/maas/regiond.conf", "/etc/maas/regiond.conf"),
    "maas-id": ("mv /var/lib/maas/maas_id /var/lib/maas/maas_id.gone", "/var/lib/maas/maas_id is missing"),
    "region-secret": ("echo nonsense > /var/lib/maas/secret", "hexadecimal"),
    "cluster-certificate": (
        "cd /var/lib/maas/certificates && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=planted -days 5"
        " -keyout /dev/null -out cluster.pem",
        "(4 days)",
    ),
    "services-answer": ("mv /usr/sbin/chronyd /usr/sbin/chronyd.gone && pkill -9 chronyd", "ntp is down"),
    "services-gave-up": ("true", "ntp"),
    "unwished-ends": ("pkill -9 squid", "proxy was killed by SIGKILL"),
}
"""Each with what plants it, as root, and what the doctor says then."""


@pytest.fixture(scope="module")
def planted(running: Container, at_first: Findings) -> Findings:
    assert not bad(at_first) & PLANTED.keys() - {"services-answer"}
    for command, _ in PLANTED.values():
        running.execute("sh", "-ec", command, user="0")
    running.execute("maas-init", "stop", "apiserver")
    running.sql("DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations)")
    holder = "import socket, time; held = socket.socket(type=socket.SOCK_DGRAM); held.bind(('', 67)); time.sleep(3600)"
    docker.docker("exec", "--detach", running.name, "python3", "-c", holder)

    def given_up() -> Findings | None:
        found = examine(running)
        return found if "services-gave-up" in bad(found) else None

    found: Findings = until(given_up, "the end of the listener's patience")
    return found


@pytest.mark.parametrize("check", PLANTED)
def test_fault_that_comes_later_is_named(planted: Findings, check: str) -> None:
    assert planted[check]["level"] in ("warning", "failure"), planted[check]
    assert PLANTED[check][1] in planted[check]["evidence"]


def test_service_that_somebody_stopped_is_named(planted: Findings) -> None:
    assert planted["services-switched-off"]["level"] == "warning"
    assert planted["services-switched-off"]["evidence"].startswith("apiserver, by operator")


def test_schema_that_is_not_the_image_s_is_named(planted: Findings) -> None:
    assert planted["database-schema"]["level"] == "warning"


def test_who_holds_a_port_is_named(planted: Findings) -> None:
    assert planted["ports"]["level"] == "failure"
    assert "udp 67 (dhcpd) is held by python3 (process " in planted["ports"]["evidence"]


def test_text_for_people_names_each_with_what_to_do_and_the_code_says_the_worst(
    running: Container, planted: Findings
) -> None:
    done = subprocess.run(
        ("docker", "exec", running.name, "maas-init", "doctor"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    named = set(re.findall(r"^(?:warning|failure) +(\S+): ", done.stdout, re.MULTILINE))
    assert named >= (PLANTED.keys() & bad(planted)) - {"services-gave-up"}
    assert done.stdout.count("\n         Do: ") == len(named)


def test_support_bundle_holds_the_findings_and_no_secret(running: Container, planted: Findings) -> None:
    running.execute("sh", "-c", "cat >> /var/log/maas/regiond.log", stdin=f"the password is {POSTGRES_PASSWORD}\n")
    own = [
        *running.execute("sed", "-n", 's/.*secret "\\(.*\\)".*/\\1/p', "/etc/bind/maas/keys.conf.maas").split(),
        *running.execute("sed", "-n", "2,4p", "/var/lib/maas/certificates/cluster.key").split(),
    ]
    assert len(own) >= 3
    done = subprocess.run(
        ("docker", "exec", running.name, "maas-init", "support-bundle"), capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {}
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            files[member.name.partition("/")[2]] = content.read().decode()
    assert {each["name"] for each in json.loads(files["doctor.json"])} == planted.keys()
    assert "the password is ********" in files["logs/regiond.log"]
    assert "maas-region-api " in files["versions.txt"]
    for secret in (POSTGRES_PASSWORD, ADMIN_PASSWORD, *own):
        forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        assert [name for name, text in files.items() if any(form in text for form in forms)] == []


# Before the first start.


@pytest.fixture
def before(image: str, network: str) -> Callable[..., Findings]:
    return partial(before_a_start, image, network)


def test_container_with_good_options_has_no_fault_before_its_start(
    before: Callable[..., Findings], volumes: tuple[str, ...]
) -> None:
    found = before(*volumes, MAAS_URL="http://192.0.2.1:5240/MAAS", MAAS_DNS_FORWARDER="none")
    assert bad(found) <= OF_THE_NETWORK
    assert found["web"]["level"] == found["listener"]["level"] == found["database-reachable"]["level"] == "skipped"
    assert found["web"]["evidence"] == "not running"


@pytest.mark.parametrize(
    ("check", "options", "settings", "evidence"),
    [
        ("settings", (), {"MAAS_URL": "maas"}, "MAAS_URL"),
        ("user", ("--user", "0", "--cap-drop", "ALL"), {}, "SETGID SETUID"),
        (
            "raw-sockets",
            ("--security-opt", "no-new-privileges"),
            {},
            "dhcpd, dhcpd6, discovery: it needs NET_RAW",
        ),
        (
            "low-ports",
            ("--security-opt", "no-new-privileges", "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"),
            {},
            "bind9",
        ),
        ("volumes-writable", ("--tmpfs", "/etc/maas:uid=0,mode=755"), {}, "/etc/maas: Permission denied"),
        ("file-systems", ("--tmpfs", "/var/lib/maas:uid=568,gid=568"), {}, "in memory"),
        ("inodes", ("--tmpfs", "/var/log/maas:uid=568,gid=568,nr_inodes=100"), {}, "/var/log/maas"),
        ("interfaces", ("--network", "none"), {}, "no interface"),
        ("maas-url", (), {"MAAS_URL": "http://0.0.0.0:5240/MAAS"}, "where to listen"),
        ("maas-url", (), {"MAAS_URL": "http://maas:5240/MAAS"}, "this container's address on a bridge"),
        ("maas-url", (), {"MAAS_URL": "http://nowhere.invalid:5240/MAAS"}, "nowhere.invalid is not known"),
        ("database-reachable", (), {"POSTGRES_HOST": "127.0.0.1"}, "nothing accepts connections there"),
        ("database-reachable", (), {"POSTGRES_HOST": "nowhere.invalid"}, "its name cannot be resolved"),
        (
            "region-answers",
            (),
            {"MAAS_ROLE": "rack", "MAAS_REGION_URLS": "http://127.0.0.1:5240/MAAS", "MAAS_REGION_SECRET": "ab" * 16},
            "http://127.0.0.1:5240/MAAS",
        ),
    ],
)
def test_fault_is_named_before_the_start(
    before: Callable[..., Findings], check: str, options: tuple[str, ...], settings: dict[str, str], evidence: str
) -> None:
    found = before(*options, **settings)[check]
    assert found["level"] in ("warning", "failure"), found
    assert evidence in found["evidence"]


def test_other_dhcp_server_is_named_and_only_asked_for_when_that_is_wanted(image: str, network: str) -> None:
    subnet = json.loads(docker.docker("network", "inspect", "--format", "{{json .IPAM.Config}}", network))[0]["Subnet"]
    prefix = subnet.rpartition(".")[0].rpartition(".")[0]
    netmask = {"16": "255.255.0.0", "24": "255.255.255.0", "20": "255.255.240.0"}[subnet.partition("/")[2]]
    base = subnet.partition("/")[0]
    pool = f"{base.rpartition('.')[0]}.200 {base.rpartition('.')[0]}.210"
    configuration = f"subnet {base} netmask {netmask} {{ range {pool}; }}"
    server = f"maas-init-test-{secrets.token_hex(4)}"
    command = (
        f"echo '{configuration}' > /tmp/conf; : > /tmp/leases; exec dhcpd -d -f -cf /tmp/conf -lf /tmp/leases eth0"
    )
    docker.docker(
        *("run", "--detach", "--name", server, "--network", network, "--user", "0", "--entrypoint", "sh"),
        *(image, "-c", command),
    )
    try:
        until(lambda: "Server starting service" in docker.docker("logs", server), "the other server")
        assert prefix in subnet
        found = before_a_start(image, network)["other-dhcp-servers"]
        assert (found["level"], found["evidence"].partition(":")[0]) == ("skipped", "not asked")
        assert "DHCPDISCOVER" not in docker.docker("logs", server)

        found = before_a_start(image, network, doctor=("--json", "--dhcp"))["other-dhcp-servers"]

        address = docker.docker(
            "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", server
        )
        assert found["level"] == "warning", found
        assert f"on eth0, {address.strip()} offers " in found["evidence"]
    finally:
        docker.docker("rm", "--force", "--volumes", server)


def test_completion_is_there_in_the_image_s_bash(image: str) -> None:
    script = 'COMP_WORDS=(maas-init restart pro) COMP_CWORD=2; _maas_init; echo "${COMPREPLY[@]}"'
    told = docker.docker("run", "--rm", image, "bash", "-ic", script)
    assert told.splitlines()[-1] == "proxy"
