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

from .compose import COMPOSE
from .docker import Container, docker, ports_of_this_machine, postgres_image, until

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]

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
    "docs/tutorial/truenas.md",
    "docs/explanation/security.md",
)
"""In one installation, one after the other; the tutorial has one of its own."""
TUTORIAL = "docs/tutorial/docker.md"
NOTHING_TO_RUN = ("docs/how-to/any-user.md", "docs/how-to/tls.md")
"""Pages that show files and settings."""

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
                drawn = "►" in command
                if re.match(r"(docker|git|cp|maas-init|openssl|curl|make) ", command) and not drawn:
                    yield Command(page, command)
    for command in re.findall(r"`(docker (?:exec|compose|kill|run) [^`]+)`", blocks.sub("", text)):
        if not re.search(r"\b(VERB|NAME|SERVICE)\b", command):
            yield Command(page, " ".join(command.split()))


class Desk:
    """Where a reader works: a directory with what a clone has, and an engine with one installation."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.project = f"maasinittest{secrets.token_hex(4)}"
        self.image = f"{self.project}:3.5"
        self.environ = {"COMPOSE_PROJECT_NAME": self.project, "MAAS_IMAGE": self.image, "HOME": str(directory)}
        self.values: dict[str, str] = {}
        """What its reader writes into .env."""
        base = subprocess.run([ROOT / "tests/tools/base-image"], check=True, capture_output=True, text=True).stdout
        self.environ |= {"BASE_IMAGE": base.strip(), "MAAS_PACKAGES": "local", "BUILD_NETWORK": "host"}
        if subprocess.run(["docker", "buildx", "version"], check=False, capture_output=True).returncode:
            self.environ["DOCKER_BUILDKIT"] = "0"
        context = {"CONTEXT": str(directory), "MAAS_SOURCE": "simulator"}
        subprocess.run([ROOT / "tests/tools/image"], env=os.environ | context, check=True)
        shutil.copytree(ROOT / "deploy", directory / "deploy")
        for name in ("compose.yaml", "compose.rack.yaml", ".env.example"):
            shutil.copy(ROOT / name, directory)
        (directory / ".gitconfig").write_text("[safe]\n    directory = *\n")  # whoever owns the repository
        for name in ("conf.d", ".zfunc", "exporter"):
            (directory / name).mkdir()

    def as_here(self) -> dict[str, str]:
        """Return what stands for words of the pages: this installation's names, and what a reader fills in."""
        maas, network = self.maas.name, f"{self.project}_default"
        arguments = [f"--build-arg {name}={self.environ[name]}" for name in ("BASE_IMAGE", "MAAS_PACKAGES")]
        another = f"docker run --detach --name {self.project}-another --hostname maas --network {network}"
        settings = " ".join(f"-e {name}='{value}'" for name, value in self.values.items())
        return {
            r"\bdocker compose( -f \S+)? (exec|run)\b(?! -T)": r"docker compose\1 \2 -T",  # there is no terminal
            r"\bdocker run --rm -it\b": "docker run --rm",
            r"\bdocker run IMAGE\b": "docker run --rm IMAGE",
            r"\bdocker compose cp maas:": f"docker cp {maas}:",  # which Compose 1 does not have
            r"^git clone (<.*>|\S+) ": f"git clone --quiet {ROOT} ",
            r"^docker build (?=.*proxy)": "docker build --target production ",  # there is no such proxy
            r"^docker build ": f"docker build --network host {' '.join(arguments)} ",
            r"< BACKUP\.dump": "< $(ls backups/*.dump | tail -n 1)",
            r"\bdocker (exec|kill -s HUP) maas\b": rf"docker \1 {maas}",
            r"^maas-init ": f"docker exec {maas} maas-init ",
            r" -e \S+=\.\.\.| -e MAAS_URL=\S+": "",  # among the settings of the next line
            r"^docker run -d --name maas --hostname maas --network host\b": f"{another} {settings}",
            r"^docker run \.\.\. ": f"{another} -e POSTGRES_HOST=embedded {settings} ",
            r" -v maas-(\w+):": rf" -v {self.project}-another-\1:",
            r" \.\.\. ": " ",
            r"\bssh root@TRUENAS ": "",
            r"\btruenas-maas:3\.5|\bIMAGE\b": self.image,
            r"^(.*(?: logs -f|--watch)\b.*)$": r"timeout 5 \1; [ $? = 124 ]",  # until somebody interrupts it
            r'"\$KEY"': f'"$(docker exec -u 0:568 {maas} maas apikey --username admin)"',
            r"^(.* changepassword .*)$": r"printf 'new one\\nnew one\\n' | \1",
            r"^(.* run -T --rm maas) mv (\S+)(.*)$": r"\1 mkdir -p \2 && \1 mv \2\3",  # data of another PostgreSQL
            r"\bdocker compose\b": " ".join(COMPOSE),
        }

    def run(self, command: str) -> None:
        """Run a documented command, and wait until what it starts is there."""
        words = command
        for pattern, here in self.as_here().items():
            words = re.sub(pattern, here, words)
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
        assert done.returncode == 0 or re.search(r"^\S+ +RUNNING|\d+ checks?", done.stdout, re.MULTILINE), done.stdout
        assert "Traceback" not in done.stderr
        if command == "cp .env.example .env":
            (self.directory / ".env").write_text(filled((self.directory / ".env").read_text(), self.values))
        elif f"{self.project}-another " in words:
            another = Container(self.image, "", name=f"{self.project}-another")
            another.until_healthy()
            another.remove()
        elif "compose.rack.yaml up -d" in command:
            until(lambda: self.container("rack").health() == "healthy", "the rack")
        elif re.search(r" up -d| restore latest$| restore /", command) and " run " not in command:
            self.maas.until_healthy()

    @property
    def maas(self) -> Container:
        return self.container("maas")

    def container(self, service: str) -> Container:
        ours = (f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={service}")
        filters = [word for each in (*ours, "label=com.docker.compose.oneoff=False") for word in ("--filter", each)]
        name = docker("ps", "--all", "--format", "{{.Names}}", *filters).strip()
        return Container(self.image, f"{self.project}_default", name=name)

    def clear(self) -> None:
        docker("rm", "--force", "--volumes", f"{self.project}-another", check=False)
        for file in ("compose.rack.yaml", "compose.yaml", "maas.yaml"):
            if (self.directory / file).exists():
                command = [*COMPOSE, "-f", file, "down", "--volumes", "--remove-orphans"]
                subprocess.run(command, cwd=self.directory, env=os.environ | self.environ, check=False)
        volumes = docker("volume", "ls", "--quiet", "--filter", f"name={self.project}").split()
        docker("volume", "rm", "--force", *volumes, check=False)
        docker("rmi", "--force", self.image, check=False)


def filled(text: str, values: dict[str, str]) -> str:
    """Return a file of settings with these values in their lines."""
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^( *#?{name}[=:]).*", lambda found: found[1].strip(" #") + value, text)  # noqa: B023
        assert count == 1, name
    return text


@pytest.fixture(scope="module")
def desk(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.environ |= {"POSTGRES_IMAGE": postgres_image(image), "MASQUERADE": "false", "BIND_ADDRESS": "127.0.0.78"}
    desk.environ |= {"RACK_NETWORK": f"{desk.project}_default", "MAAS_REGION_URLS": "http://maas:5240/MAAS"}
    desk.values = {
        "MAAS_URL": "http://localhost:5240/MAAS",
        "MAAS_ADMIN_PASSWORD": "a password",
        "MAAS_ADMIN_EMAIL": "you@example.com",
        "POSTGRES_PASSWORD": "another password",
        "MAAS_BOOT_IMAGES_AUTO_IMPORT": "false",
        "MAAS_REGION_SECRET": secrets.token_hex(16),
    }
    with ports_of_this_machine():
        yield desk
        desk.clear()


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_do_what_they_are_for(desk: Desk, page: str) -> None:
    ran = 0
    for command in documented(page):
        print(command.text)
        desk.run(command.text)
        if found := re.search(r"\bmaas-init stop (\w+)", command.text):
            desk.run(f"maas-init start {found[1]}")  # the next reader begins with everything
        elif command.text == "docker compose down":
            desk.run("docker compose up -d")
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
    pages = {str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md")}
    pages -= {*PAGES, TUTORIAL}
    left = [each for page in pages for each in documented(page)]
    assert not left


@pytest.fixture(scope="module")
def host(image: str, network: str) -> Iterator[str]:
    """A network namespace with nobody in it, in place of the host's own: this machine's belongs to others."""
    name = f"maas-init-test-{secrets.token_hex(4)}"
    place = ("--name", name, "--hostname", "maas", "--network", network)
    docker("run", "--detach", *place, "--entrypoint", "sleep", image, "infinity")
    yield f"container:{name}"
    docker("rm", "--force", name, check=False)


def test_tutorial_leads_from_nothing_to_maas(host: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    desk = Desk(tmp_path_factory.mktemp("tutorial"))
    try:
        for command in documented(TUTORIAL):
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
