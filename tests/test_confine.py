"""What a process gives up for good, as the kernel tells it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from maas_init.confine import NUMBERS
from maas_init.services import CAPABILITIES

pytestmark = pytest.mark.process

SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
NOBODY = "--reuid=65534"
ALL = "+net_raw,+net_bind_service,+net_admin"


def after(
    code: str, *, given: Sequence[str] = (NOBODY, f"--inh-caps={ALL}", f"--ambient-caps={ALL}")
) -> dict[str, str]:
    """Return what the kernel says of a program that is started after `code`."""
    script = (
        f"import os, sys; from maas_init import confine; {code}; os.execv('/bin/cat', ['cat', '/proc/self/status'])"
    )
    command = ["setpriv", "--clear-groups", *given, sys.executable, "-c", script]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)


def test_a_number_is_known_for_each_capability_that_a_service_file_may_name() -> None:
    assert NUMBERS.keys() == CAPABILITIES.keys()


@pytest.mark.parametrize("kept", [(), ("net_raw",), ("net_bind_service", "net_raw")])
def test_only_what_is_kept_is_left_in_every_set(kept: tuple[str, ...]) -> None:
    found = after(f"confine.keep_capabilities({kept!r})")
    mask = sum(1 << NUMBERS[name] for name in kept)
    assert {int(found[each], 16) for each in SETS} == {mask}


def test_nothing_is_gained_by_asking_to_keep_it() -> None:
    found = after("confine.keep_capabilities(['net_raw'])", given=(NOBODY,))
    assert {int(found[each], 16) for each in SETS} == {0}


def test_no_program_gives_back_what_was_given_up() -> None:
    """Root would have everything again with its next program."""
    found = after("confine.forbid_new_privileges(); confine.keep_capabilities(['net_raw'])", given=())
    assert found["NoNewPrivs"] == "1"
    assert {int(found[each], 16) for each in ("CapPrm", "CapEff")} == {1 << NUMBERS["net_raw"]}


def test_memory_is_not_saved_to_a_file(tmp_path: Path) -> None:
    code = (
        "import os, resource, signal; from maas_init import confine\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "confine.leave_no_core()\n"
        "pid = os.fork()\n"
        "if not pid: os.abort()\n"
        "_, status = os.waitpid(pid, 0)\n"
        "print(os.WTERMSIG(status) == signal.SIGABRT, os.WCOREDUMP(status))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert said.split() == ["True", "False"]
