from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from maas_init import reference, services
from maas_init.errors import ExitCode
from maas_init.health import Container, Level
from maas_init.settings import VARIABLES

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("tests/**/*.md"),
        *ROOT.glob("packages/*.md"),
        *ROOT.glob("bench/*.md"),
    ]
)


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text() == reference.PAGES[name](), "make reference"


def test_readme_and_example_name_every_setting_people_need() -> None:
    readme, example = (ROOT / "README.md").read_text(), (ROOT / ".env.example").read_text()
    for variable in VARIABLES:
        if not variable.name.startswith("MAAS_INIT_"):
            assert f"`{variable.name}`" in readme
            assert variable.name in example
        assert bool(variable.required) == (f"| `{variable.name}` | **required** " in readme)


def test_services_page_has_every_key_and_every_probe() -> None:
    page = (ROOT / "docs/reference/services.md").read_text()
    for word in (*services.KEYS, *services.PROBES):
        assert f"`{word}" in page


def test_services_page_tells_who_has_which_capability() -> None:
    page = (ROOT / "docs/reference/services.md").read_text()
    given = [each for file in ROOT.glob("supervisord.conf.d/*.conf") for each in services.read_file(file)]
    for name, need in services.CAPABILITIES.items():
        who = ", ".join(
            f"`{each}`" for each in sorted(each.name for each in given if name in each.ambient_capabilities)
        )
        assert f"\n| `{name}` | {who} | {need} |\n" in page


def test_status_and_exit_pages_have_every_level_and_code() -> None:
    status = (ROOT / "docs/reference/status.md").read_text()
    exits = (ROOT / "docs/reference/exit-codes.md").read_text()
    for word in (*Container, *Level):
        assert f"`{word.value}`" in status
    for code in ExitCode:
        assert f"| {code.value} |" in exits


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith(("http://", "https://")) or (page.parent / target).exists(), target


def test_every_test_that_the_documentation_names_exists() -> None:
    for page in PAGES:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
            assert f"def {name}(" in (ROOT / file).read_text(), name


def test_site_has_every_page_and_no_dead_link(tmp_path: Path) -> None:
    made = tmp_path / "docs"
    done = subprocess.run([ROOT / "tests/tools/docs", made], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        name = page.relative_to(ROOT).as_posix()
        assert (made / "site" / name).with_suffix(".html").exists()
        assert f": {name}\n" in navigation, "it is in no menu"
    home = (made / "site/index.html").read_text()
    assert "<h1 id=" in home
    assert not re.search(r"<(?:script|img)[^>]* src=.?https?:|<link[^>]*stylesheet[^>]*https?:", home)


def test_dead_link_is_found(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "tests/tools/docs", "tests/tools/common.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for directory in ("docs", "deploy", "bench", "packages", "tests/simulator"):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        (tmp_path / directory / "README.md").write_text("# Nothing\n")
    for name in ("LICENSE", "Dockerfile", "compose.yaml", ".env.example"):
        (tmp_path / name).touch()
    (tmp_path / "README.md").write_text("[one](docs/nowhere.md)\n")
    done = subprocess.run([tmp_path / "tests/tools/docs"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert re.search(r"WARNING .*'docs/nowhere\.md'", done.stderr)
