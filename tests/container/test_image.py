"""What is in the image, and what must not be."""

from __future__ import annotations

import json

import pytest

from .docker import docker

pytestmark = pytest.mark.container


def inside(image: str, script: str) -> list[str]:
    """Return what a shell script prints as root in a new container."""
    return docker("run", "--rm", "--user", "0", "--network", "none", image, "sh", "-c", script).splitlines()


def test_keys_that_packages_generate_are_not_shipped(image: str) -> None:
    script = (
        "ls -A /etc/bind/maas /var/lib/bind/maas;"
        " ls /etc/bind/rndc.key /etc/ssl/private/ssl-cert-snakeoil.key /etc/maas/regiond.conf 2> /dev/null;"
        " find / -xdev -name '*.conf*' -path '*bind*' | xargs grep -ls secret; true"
    )

    assert [line for line in inside(image, script) if line and not line.endswith(":")] == []


def test_nothing_in_it_raises_privileges_but_our_launcher(image: str) -> None:
    assert inside(image, "find / -xdev -type f -perm /6000") == []
    assert inside(image, "getcap -r / 2> /dev/null") == [
        "/usr/lib/maas-init/setpriv cap_net_bind_service,cap_net_admin,cap_net_raw=p"
    ]


def test_it_has_no_compiler_no_package_cache_no_sudo_and_no_systemd(image: str) -> None:
    script = (
        "for each in cc gcc pip gpg; do command -v $each; done;"
        " ls /usr/bin/sudo /bin/systemctl /usr/bin/systemctl /opt/maas-init/bin/pip /root/.cache 2> /dev/null;"
        " find /var/lib/apt/lists /var/cache/apt -type f; find / -xdev -name pip.conf; true"
    )

    assert inside(image, script) == []


def test_maas_is_user_568_and_owns_what_it_writes(image: str) -> None:
    script = (
        "id -u maas; id -g maas; stat -c %u /run /etc/maas /var/lib/maas /var/log/maas /tmp/maas /etc/bind /etc/chrony"
    )

    assert inside(image, script) == ["568"] * 9


def test_its_settings_are_those_that_are_promised(image: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))

    assert config["User"] == "568:568"
    assert config["Entrypoint"] == ["/usr/local/bin/maas-init"]
    assert config["Cmd"] == ["run"]
    assert set(config["Volumes"]) == {"/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"}
    assert {"5240/tcp", "5443/tcp", "69/udp", "8000/tcp"} <= set(config["ExposedPorts"])
    assert {f"{port}/tcp" for port in (*range(5241, 5249), *range(5250, 5271))} <= set(config["ExposedPorts"])
    health = config["Healthcheck"]
    assert (health["Interval"], health["Timeout"], health["StartPeriod"], health["Retries"]) == (
        *(30 * 10**9, 10 * 10**9, 90 * 10**9),
        3,
    )
