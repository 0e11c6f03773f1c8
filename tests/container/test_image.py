"""What is in the image, and what must not be."""

from __future__ import annotations

import json
import re

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from .docker import docker

pytestmark = pytest.mark.container


def inside(image: str, script: str) -> list[str]:
    """Return what a shell script prints as root in a new container."""
    return docker("run", "--rm", "--user", "0", "--network", "none", image, "sh", "-c", script).splitlines()


def test_keys_that_packages_generate_are_not_shipped(image: str) -> None:
    script = (
        "cd /usr/share/maas-init/skeleton; ls -A var/lib/maas/bind/*; ls etc/bind/rndc.key 2> /dev/null;"
        " ls /etc/bind/rndc.key /etc/ssl/private/ssl-cert-snakeoil.key /etc/maas/regiond.conf 2> /dev/null;"
        " find / -xdev -name '*.conf*' -path '*bind*' | xargs grep -ls secret; true"
    )

    assert [line for line in inside(image, script) if line and not line.endswith(":")] == []


def test_nothing_in_it_raises_privileges_but_our_launcher(image: str) -> None:
    assert inside(image, "find / -xdev -type f -perm /6000") == []
    assert inside(image, "getcap -r / 2> /dev/null") == [
        "/usr/lib/maas-init/setpriv cap_net_bind_service,cap_net_raw=p"
    ]


def test_it_has_no_compiler_no_package_cache_no_sudo_and_no_systemd(image: str) -> None:
    script = (
        "for each in cc gcc g++ c++ clang make as pip pip3 gpg; do command -v $each; done;"
        r" find / -xdev -type d \( -name pip -o -name ensurepip \);"
        " ls /usr/bin/sudo /bin/systemctl /usr/bin/systemctl /opt/maas-init/bin/pip /root/.cache 2> /dev/null;"
        " find /var/lib/apt/lists /var/cache/apt -type f; find / -xdev -name pip.conf; true"
    )

    assert inside(image, script) == []


def test_the_bill_of_materials_is_whole(image: str) -> None:
    """Read as those read it who use it; it names everything that dpkg and Python say is there."""
    text = "\n".join(inside(image, "cat /usr/share/maas-init/sbom.cdx.json"))
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    told = json.loads(text)
    bill = Bom.from_json(told)  # type: ignore[attr-defined]  # made by a decorator

    bill.validate()
    purls = [component.purl for component in bill.components]
    assert all(purls)
    packages = inside(image, "dpkg-query --show --showformat '${db:Status-Abbrev}|${Package}|${Version}\\n'")
    wanted = {tuple(line.split("|")[1:]) for line in packages if line.startswith("ii")}
    assert {(purl.name, purl.version) for purl in purls if purl and purl.type == "deb"} == wanted
    script = """from importlib.metadata import distributions
for each in distributions():
    print(each.metadata['Name'], each.version)"""
    listed = {(purl.name, purl.version) for purl in purls if purl and purl.type == "pypi"}
    for python in ("/opt/maas-init/bin/python3", "/usr/bin/python3"):
        found = [line.split() for line in inside(image, f'{python} -c "{script}"')]
        assert found
        assert {(re.sub("[-_.]+", "-", name).lower(), version) for name, version in found} <= listed


def test_labels_say_what_it_is_and_where_it_comes_from(image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    ours = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}

    for name in ("title", "description", "version", "licenses", "base.name"):
        assert ours[name]
    assert re.fullmatch(r"[0-9a-f]{40}|", ours["revision"])
    assert re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d))?", ours["created"])
    assert re.fullmatch(r"(sha256:[0-9a-f]{64})?", ours["base.digest"])
    assert re.fullmatch(r"(https://.*)?", ours["source"])


def test_maas_is_user_568_and_owns_the_volumes(image: str) -> None:
    script = "id -u maas; id -g maas; stat -c %u:%g:%A /etc/maas /var/lib/maas /var/log/maas /tmp/maas"

    assert inside(image, script) == ["568", "568", *["568:0:drwxrwxr-x"] * 4], "group 0 may do what the owner may"


def test_whatever_else_is_written_lies_where_any_user_may(image: str) -> None:
    links = (
        *("/etc/bind", "/etc/chrony", "/var/cache/bind", "/var/cache/maas", "/var/lib/chrony", "/var/log/chrony"),
        *("/var/log/nginx", "/var/spool/maas-proxy"),
    )
    places = inside(image, f"stat -c %A /run /run/lock /tmp; readlink {' '.join(links)}")

    assert places[:3] == ["drwxrwxrwt"] * 3
    assert {place.rsplit("/", 1)[0] for place in places[3:]} <= {"/run/maas-init", "/run/maas-init/etc", "/tmp/maas"}
    assert len(places) == 3 + len(links)


def test_its_settings_are_those_that_are_promised(image: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))

    assert config["User"] == "568:568"
    assert config["Entrypoint"] == ["/usr/local/bin/maas-init"]
    assert config["Cmd"] == ["run"]
    assert set(config["Volumes"]) == {"/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"}
    assert {"5240/tcp", "5443/tcp", "69/udp", "8000/tcp", "5290/tcp"} <= set(config["ExposedPorts"])
    assert {f"{port}/tcp" for port in (*range(5241, 5249), *range(5250, 5271))} <= set(config["ExposedPorts"])
    health = config["Healthcheck"]
    assert (health["Interval"], health["Timeout"], health["StartPeriod"], health["Retries"]) == (
        *(30 * 10**9, 10 * 10**9, 90 * 10**9),
        3,
    )
