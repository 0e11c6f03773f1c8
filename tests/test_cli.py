from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import MAAS_INIT

from maas_init import __version__, reference
from maas_init.settings import VARIABLES
from maas_init.verbs import VERBS


def maas_init(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, as `docker run IMAGE ...` does, without touching this machine."""
    environ = {"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": "/nonexistent"} | environ
    return subprocess.run([MAAS_INIT, *argv], env=environ, capture_output=True, text=True, check=False)


def test_version_is_told() -> None:
    done = maas_init("--version")
    assert (done.returncode, done.stdout) == (0, f"maas-init {__version__}\n")


@pytest.mark.parametrize("argument", ["-h", "--help"])
def test_help_names_every_verb(argument: str) -> None:
    done = maas_init(argument)
    assert done.returncode == 0
    for verb in VERBS:
        assert re.search(rf"^    {verb}\b", done.stdout, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(verb: str) -> None:
    done = maas_init(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: maas-init {verb}")


def test_settings_verb_prints_the_page_of_the_documentation() -> None:
    done = maas_init("settings")
    assert (done.returncode, done.stdout) == (0, reference.settings())
    for variable in VARIABLES:
        assert f"| `{variable.name}` | " in done.stdout


def test_every_row_of_the_settings_fits_into_the_table() -> None:
    rows = [line for line in reference.settings().splitlines() if line.startswith("| `")]
    assert len(rows) == len(VARIABLES) + 1, "and one for the items of MAAS's configuration"
    assert {row.count("|") for row in rows} == {4}


def test_bad_settings_end_with_78_and_without_a_traceback(tmp_path: Path) -> None:
    done = maas_init("run", MAAS_INIT_ROOT=str(tmp_path), MAAS_URL="maas")
    assert done.returncode == 78
    assert done.stderr.startswith("maas-init: cannot start: 4 settings need attention\n")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is touched before the settings are good"


def test_no_argument_means_run(tmp_path: Path) -> None:
    assert maas_init(MAAS_INIT_ROOT=str(tmp_path)).returncode == 78


@pytest.mark.parametrize("verb", ["bootstrap", "listen", "postgresql"])
def test_verb_for_supervisord_says_that_it_needs_a_container(verb: str, tmp_path: Path) -> None:
    done = maas_init(verb, MAAS_INIT_ROOT=str(tmp_path))
    assert done.returncode == 78
    assert done.stderr.startswith("maas-init: cannot read the settings of this container from ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [("status",), ("why", "bind9")])
def test_verb_for_people_says_that_nothing_is_known_yet(argv: tuple[str, ...], tmp_path: Path) -> None:
    done = maas_init(*argv, MAAS_INIT_ROOT=str(tmp_path))
    assert done.returncode == 1
    assert "the health listener has not written it yet" in done.stderr
    assert "Traceback" not in done.stderr


def test_why_asks_for_a_name() -> None:
    done = maas_init("why")
    assert done.returncode == 2
    assert "required: SERVICE" in done.stderr


# Anything else is run as it is.


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_other_command_is_run_and_its_exit_code_kept(code: int) -> None:
    done = maas_init("sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")


def test_other_command_keeps_its_environment_and_arguments() -> None:
    done = maas_init("sh", "-c", 'printf "%s|" "$MINE" "$@"', "-", "--help", "run", "a b", MINE="mine")
    assert done.stdout == "mine|--help|run|a b|"


def test_other_command_keeps_its_process() -> None:
    process = subprocess.Popen([MAAS_INIT, "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0] == f"{process.pid}\n"


def test_command_that_does_not_exist_ends_as_in_a_shell() -> None:
    done = maas_init("nonsense")
    assert done.returncode == 127
    assert done.stderr == "maas-init: cannot run nonsense: there is no such command, nor such a verb\n"


@pytest.mark.parametrize("command", ["/dev/null", "/"])
def test_command_that_cannot_be_run_ends_as_in_a_shell(command: str) -> None:
    done = maas_init(command)
    assert (done.returncode, done.stderr) == (126, f"maas-init: cannot run {command}: Permission denied\n")


def test_empty_command_is_no_traceback() -> None:
    done = maas_init("")
    assert done.returncode in (126, 127)
    assert "Traceback" not in done.stderr
