"""Every command that the documentation shows is run as it stands, page by page, as its readers would."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .docker import Container, docker, ports_of_this_machine, postgres_image, until

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
COMPOSE = "docker-compose" if shutil.which("docker-compose") else "docker compose"

PAGES = (
    "README.md",
    "docs/how-to/debug-a-boot.md",
    "docs/how-to/dhcp-and-vlans.md",
    "docs/how-to/any-user.md",
    "docs/how-to/extend.md",
    "docs/how-to/maas-commands.md",
    "docs/how-to/secrets.md",
    "docs/how-to/tls.md",
    "docs/how-to/behind-a-proxy.md",
    "docs/how-to/rack-controllers.md",
    "docs/how-to/back-up-and-restore.md",
    "docs/how-to/upgrade.md",
    "docs/how-to/external-database.md",
    "docs/reference/doctor.md",
    "docs/reference/cli.md",
)
"""In one installation, one after the other; the tutorial has one of its own."""
TUTORIAL = "docs/tutorial/docker.md"
NOTHING_TO_RUN = ("docs/how-to/any-user.md", "docs/how-to/tls.md", "docs/how-to/behind-a-proxy.md")
"""Pages that show files and settings, or only what is not run here."""

NOT_RUN = {
    r"git clone |cp \.env\.example|nano |make ": "the desk below is that clone; its .env is written by the test",
    r"docker (compose )?build ": "the image under test was built by tests/tools/image",
    r"docker compose logs -f|.*--watch": "it ends only when somebody interrupts it",
    r"docker run .*\.\.\.": "its reader has to fill something in",
    r"docker run --rm -it |docker run IMAGE": "it asks for a terminal",
    r".* changepassword ": "it asks for a password",
    r".* maas login |.* maas admin ": "MAAS's own client, which the simulator does not have",
    r".* mv /var/lib/maas/postgresql/14 ": "for another major version of PostgreSQL than this image has",
    r"docker compose -f compose\.rack\.yaml|openssl rand": "two hosts: test_roles.py",
    r"docker save |curl ": "it goes to another machine",
}
MAY_FAIL = re.compile(r"\bdoctor\b|\bsupervisorctl status\b")
"""Their exit code says what they found: something wrong, or something that does not run."""


class Command(NamedTuple):
    page: str
    text: str


def documented(page: str) -> Iterator[Command]:
    """Yield every line of every block of shell, continued lines as one, and commands for an engine in sentences."""
    text = (ROOT / page).read_text()
    blocks = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    for language, block in blocks.findall(text):
        if language in ("", "sh") and not block.startswith("#!"):  # hooks: tests/test_hooks.py
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if re.match(r"(docker|git|cp|nano|maas-init|openssl|curl|make) ", command):
                    yield Command(page, command)
    for command in re.findall(r"`(docker (?:exec|compose|kill|run) [^`]+)`", blocks.sub("", text)):
        if not re.search(r"\b(VERB|NAME|SERVICE)\b", command):
            yield Command(page, " ".join(command.split()))


def why_not(command: str) -> str:
    """Return why a command is not run here; empty when it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), "")


class Desk:
    """Where a reader works: a directory with what a clone has, and an engine with one installation."""

    def __init__(self, directory: Path, image: str) -> None:
        self.directory, self.image = directory, image
        self.project = f"maasinittest{secrets.token_hex(4)}"
        self.environ = {"COMPOSE_PROJECT_NAME": self.project, "MAAS_IMAGE": image, "HOME": str(directory)}
        shutil.copytree(ROOT / "deploy", directory / "deploy")
        for name in ("compose.yaml", "compose.rack.yaml", ".env.example"):
            shutil.copy(ROOT / name, directory)
        for name in ("conf.d", ".zfunc"):
            (directory / name).mkdir()

    def run(self, command: str) -> str:
        """Run a documented command, with this installation's names in place of those that the pages use."""
        words = re.sub(r"\bdocker compose( -f \S+)? (exec|run)\b(?! -T)", r"docker compose\1 \2 -T", command)
        if words.startswith("docker compose cp "):  # which Compose 1 does not have
            words = words.replace("docker compose cp maas:", f"docker cp {self.maas.name}:")
        words = words.replace("< BACKUP.dump", "< $(ls backups/*.dump | tail -n 1)")
        words = re.sub(
            r"\bdocker (exec|kill -s HUP) maas\b", lambda found: f"docker {found[1]} {self.maas.name}", words
        )
        words = re.sub(r"^maas-init ", lambda _: f"docker exec {self.maas.name} maas-init ", words)
        words = words.replace("docker compose", COMPOSE).replace("truenas-maas:3.5", self.image)
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=self.directory,
            env=os.environ | self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or MAY_FAIL.search(command), f"{words}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        if re.search(r" up -d| restore latest$| restore /", command) and " run " not in command:
            self.maas.until_healthy()
        return done.stdout

    @property
    def maas(self) -> Container:
        ours = (f"label=com.docker.compose.project={self.project}", "label=com.docker.compose.service=maas")
        filters = [word for each in (*ours, "label=com.docker.compose.oneoff=False") for word in ("--filter", each)]
        name = docker("ps", "--all", "--format", "{{.Names}}", *filters).strip()
        return Container(self.image, f"{self.project}_default", name=name)

    def clear(self) -> None:
        for file in ("compose.yaml", "maas.yaml"):
            if (self.directory / file).exists():
                command = f"{COMPOSE} -f {file} down --volumes --remove-orphans"
                subprocess.run(["bash", "-c", command], cwd=self.directory, env=os.environ | self.environ, check=False)


def filled(text: str, values: dict[str, str]) -> str:
    """Return a file of settings with these values in their lines."""
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^( *#?{name}[=:]).*", lambda found: found[1].strip(" #") + value, text)  # noqa: B023
        assert count == 1, name
    return text


@pytest.fixture(scope="module")
def desk(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk"), image)
    desk.environ |= {"POSTGRES_IMAGE": postgres_image(image), "MASQUERADE": "false", "BIND_ADDRESS": "127.0.0.78"}
    values = {
        "MAAS_URL": "http://localhost:5240/MAAS",
        "MAAS_ADMIN_PASSWORD": "a password",
        "POSTGRES_PASSWORD": "another password",
        "MAAS_BOOT_IMAGES_AUTO_IMPORT": "false",
    }
    (desk.directory / ".env").write_text(filled((ROOT / ".env.example").read_text(), values))
    with ports_of_this_machine():
        yield desk
        desk.clear()


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_do_what_they_are_for(desk: Desk, page: str) -> None:
    ran = 0
    for command in documented(page):
        if not why_not(command.text):
            print(command.text)
            desk.run(command.text)
            if found := re.search(r"\bmaas-init stop (\w+)", command.text):
                desk.run(f"maas-init start {found[1]}")  # the next reader begins with everything
            ran += 1
    assert ran or page in NOTHING_TO_RUN


def test_what_was_written_is_what_was_asked_for(desk: Desk) -> None:
    bundle = desk.directory / "bundle.tar.gz"
    assert bundle.stat().st_size > 1000
    assert (desk.directory / "conf.d/proxy.conf").read_text().count("[program:proxy]") == 1
    assert (desk.directory / "maas.dump").read_bytes().startswith(b"PGDMP")
    assert "maas-init" in (desk.directory / ".zfunc/_maas-init").read_text()
    assert [*desk.directory.glob("backups/*.dump")]


def test_no_page_with_commands_is_forgotten() -> None:
    pages = {str(page.relative_to(ROOT)) for page in (*ROOT.glob("docs/how-to/*.md"), *ROOT.glob("docs/tutorial/*.md"))}
    pages -= {*PAGES, TUTORIAL}
    left = [each for page in pages for each in documented(page) if not why_not(each.text)]
    assert not left


@pytest.fixture(scope="module")
def host(image: str, network: str) -> Iterator[str]:
    """A network namespace with nobody in it, in place of the host's own: this machine's belongs to others."""
    name = f"maas-init-test-{secrets.token_hex(4)}"
    place = ("--name", name, "--hostname", "maas", "--network", network)
    docker("run", "--detach", *place, "--entrypoint", "sleep", image, "infinity")
    yield f"container:{name}"
    docker("rm", "--force", name, check=False)


def test_tutorial_leads_from_nothing_to_maas(image: str, host: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    desk = Desk(tmp_path_factory.mktemp("tutorial"), image)
    try:
        for command in documented(TUTORIAL):
            if why_not(command.text):
                continue
            print(command.text)
            desk.run(command.text)
            if command.text.startswith("cp "):
                file = desk.directory / "maas.yaml"
                mine = file.read_text().replace("network_mode: host", f"network_mode: {host}")
                # A container's namespace has that container's name; the machine of the test cannot be reached from it.
                mine = mine.replace("    hostname: maas\n", "").replace("http://192.168.1.100:", "http://localhost:")
                mine = mine.replace("your-database-password", "mine").replace("your-password", "mine, too")
                file.write_text(
                    mine.replace(
                        "    environment:\n", '    environment:\n      MAAS_BOOT_IMAGES_AUTO_IMPORT: "false"\n'
                    )
                )
        maas = desk.maas
        assert maas.status()["services"]["api"]["level"] == "ready"
        shown = until(lambda: maas.execute("curl", "-sS", "-L", "http://localhost:5240/MAAS/", check=False), "a page")
        assert "MAAS" in shown
        assert "Can machines boot over the network?" in maas.execute("curl", "-sS", "http://localhost:5290/")
    finally:
        desk.clear()
