"""A container of the built image, through the docker command line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 180.0
"""Seconds. Long enough for a machine much slower than any we know: no test depends on speed."""
LONGEST_PAUSE = 0.3
"""Seconds between two looks at what is waited for."""

CAPABILITIES = ("NET_RAW", "NET_BIND_SERVICE")

# Every kind of character that a shell, YAML, SQL, an INI file or a password file could stumble over.
POSTGRES_PASSWORD = "p%q %(x)s '$HOME: ü"
ADMIN_PASSWORD = "a%b 'c' \"d\" $e ñ;#"

SETTINGS = {
    "POSTGRES_HOST": "embedded",
    "POSTGRES_PASSWORD": POSTGRES_PASSWORD,
    "MAAS_URL": "http://localhost:5240/MAAS",
    "MAAS_ADMIN_PASSWORD": ADMIN_PASSWORD,
    "MAAS_ADMIN_EMAIL": "admin@example.com",
    "MAAS_BOOT_IMAGES_AUTO_IMPORT": "false",
}


def docker(*argv: str, check: bool = True, stdin: str = "") -> str:
    """Run docker and return what it printed, both streams."""
    done = subprocess.run(
        ("docker", *argv), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"docker {' '.join(argv)}: {done.stdout}"
    return done.stdout


def until(condition: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """Wait until `condition` returns something true, and return that: seldom, since asking Docker slows all down."""
    deadline, pause = time.monotonic() + within, 0.05
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come true within {within:g} s"
        time.sleep(pause)
        pause = min(pause * 1.25, LONGEST_PAUSE)


@contextmanager
def ports_of_this_machine(*, all_of_them: bool = False) -> Iterator[None]:
    """Have MAAS's own ports on some address of this machine, or on all: files of tests run side by side."""
    with Path(tempfile.gettempdir(), "maas-init-test-ports").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if all_of_them else fcntl.LOCK_SH)
        yield


@dataclass
class Container:
    """One container; `settings` are its environment variables."""

    image: str
    network: str
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    options: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"maas-init-test-{secrets.token_hex(4)}")

    def run(self, *command: str) -> Container:
        """Start it in the background."""
        docker(
            *("run", "--detach", "--name", self.name, "--hostname", "maas", "--network", self.network),
            # The image asks every 30 s; the tests cannot wait that long for what they break and mend.
            *("--health-interval", "1s", "--health-retries", "2", "--health-start-period", "0s"),
            *("--publish", "127.0.0.1::5240", "--publish", "127.0.0.1::5247", "--publish", "127.0.0.1::8000"),
            *(word for name in CAPABILITIES for word in ("--cap-add", name)),
            *(word for name, value in self.settings.items() for word in ("--env", f"{name}={value}")),
            *self.options,
            self.image,
            *command,
        )
        return self

    def start_plainly(self) -> Container:
        """Start it with nothing but its own options, and a host name where it has a network of its own."""
        named = () if self.network.startswith("container:") else ("--hostname", "maas")
        docker(
            *("run", "--detach", "--name", self.name, *named, "--network", self.network),
            *(word for name, value in self.settings.items() for word in ("--env", f"{name}={value}")),
            *self.options,
            self.image,
        )
        return self

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)

    def execute(self, *argv: str, user: str = "", check: bool = True, stdin: str = "") -> str:
        """Run a command inside."""
        as_user = ("--user", user) if user else ()
        return docker("exec", "--interactive", *as_user, self.name, *argv, check=check, stdin=stdin)

    def logs(self) -> str:
        return docker("logs", self.name)

    def inspect(self, what: str) -> Any:
        """Return a part of docker inspect, for example .State.ExitCode."""
        return json.loads(docker("inspect", "--format", f"{{{{json {what}}}}}", self.name))

    def health(self) -> str:
        """Return what Docker says: starting, healthy or unhealthy."""
        return str(self.inspect(".State.Health.Status"))

    def health_reason(self) -> str:
        """Return what the last HEALTHCHECK printed."""
        return str(self.inspect(".State.Health.Log")[-1]["Output"])

    def until_healthy(self) -> None:
        """Wait until Docker says healthy and nothing at all is missing."""

        def well() -> bool:
            state = self.inspect(".State")
            assert state["Running"], f"it ended: {self.logs()[-4000:]}"
            return bool(state["Health"]["Status"] == "healthy" and self.status()["level"] == "healthy")

        try:
            until(well, "healthy")
        except AssertionError as error:
            status = self.execute("maas-init", "status", check=False)
            raise AssertionError(f"{error}\n{status}\n{self.logs()[-6000:]}") from error

    def status(self) -> Any:
        """Return the status file, or a stand-in before it is there."""
        text = self.execute("cat", "/run/maas-init/status.json", check=False)
        return json.loads(text) if text.startswith("{") else {"level": "starting", "services": {}}

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        until(lambda: not self.inspect(".State.Running"), "the end of the container")
        return int(self.inspect(".State.ExitCode"))

    def address(self) -> str:
        """Return its address on the test network."""
        return str(self.inspect(f'(index .NetworkSettings.Networks "{self.network}").IPAddress'))

    def port(self, port: str) -> str:
        """Return the address on this machine at which `port` (for example 5240/tcp) is published."""
        return docker("port", self.name, port).split()[0]

    def processes(self) -> dict[str, int]:
        """Return the process id of every service that runs."""
        lines = self.execute("supervisorctl", "status", check=False).splitlines()
        found = (re.match(r"(\S+)\s+RUNNING\s+pid (\d+)", line) for line in lines)
        return {match[1]: int(match[2]) for match in found if match}

    def sql(self, statement: str) -> str:
        """Ask the embedded database as its superuser."""
        return self.execute("psql", "-qAtX", "-h", "/run/postgresql", "-U", "postgres", "-d", "maasdb", "-c", statement)


def image() -> str:
    """Return the image under test, which `make container` has built."""
    name = os.environ.get("MAAS_INIT_IMAGE", "maas-init-test:3.5")
    assert docker("image", "inspect", name, check=False).startswith("[\n"), f"{name} is missing: run make test-image"
    return name


def host_pids(container: Container) -> list[int]:
    """Return the ids that the container's processes have on this machine."""
    first = int(container.inspect(".State.Pid"))
    namespace = Path(f"/proc/{first}/ns/pid").readlink()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == namespace:
                found.append(int(process.name))
        except OSError:
            continue  # it ended meanwhile
    return found


STAND_IN = "maas-init-test-postgres"


def postgres_image(image: str) -> str:
    """Return the official image if it can be had, else one built from the image under test."""
    official = "postgres:15-alpine"
    if docker("pull", "--quiet", official, check=False).strip().endswith(official):
        return official
    context = Path(__file__).parent / "postgres"
    docker("build", "--build-arg", f"BASE_IMAGE={image}", "--tag", STAND_IN, str(context))
    return STAND_IN


@contextmanager
def postgres_beside(
    image: str, network: str, *options: str, name: str = "", password: str = POSTGRES_PASSWORD
) -> Iterator[str]:
    """Run a PostgreSQL server for MAAS in a container of its own; yield its host name."""
    name = name or f"db-{secrets.token_hex(4)}"
    environ = {"POSTGRES_DB": "maasdb", "POSTGRES_USER": "maas", "POSTGRES_PASSWORD": password}
    given = (word for each, value in environ.items() for word in ("--env", f"{each}={value}"))
    docker("run", "--detach", "--name", name, "--network", network, *given, *options, postgres_image(image))
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name, check=False)
