from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from maas_init import privileges
from maas_init.privileges import SETPRIV, USEFUL, Privileges, launcher, ports_are_free

NONE = Privileges(uid=568, bounding=frozenset(), ambient=frozenset(), no_new_privileges=False)
ALL = frozenset(USEFUL)
MASK = sum(1 << number for number in USEFUL.values())


def status(
    tmp_path: Path, *, bounding: int = 0, effective: int = 0, ambient: int = 0, no_new_privileges: int = 0
) -> Path:
    """Write what /proc/self/status would show."""
    file = tmp_path / "status"
    file.write_text(
        "Name:\tpython3\nUmask:\t0022\nGroups:\t \n"
        f"CapInh:\t0000000000000000\nCapPrm:\t{effective:016x}\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\n"
        f"CapAmb:\t{ambient:016x}\nNoNewPrivs:\t{no_new_privileges}\nSeccomp:\t2\n"
    )
    return file


def test_facts_are_read_from_the_kernel_s_file(tmp_path: Path) -> None:
    found = Privileges.look(status(tmp_path, bounding=MASK, ambient=1 << 13))
    assert (found.uid, found.bounding, found.ambient) == (os.geteuid(), ALL, frozenset({"net_raw"}))


@pytest.mark.parametrize("container", [0, 1])
def test_process_1_tells_whether_the_container_was_started_with_no_new_privileges(
    tmp_path: Path, container: int
) -> None:
    (tmp_path / "1").mkdir()
    init, mine = status(tmp_path / "1", no_new_privileges=container), status(tmp_path, no_new_privileges=1)
    assert Privileges.look(mine, init).no_new_privileges is bool(container), "we set our own"


def test_what_root_lacks_to_become_another_user_is_named(tmp_path: Path) -> None:
    def missing(effective: int) -> set[str]:
        return set(Privileges.look(status(tmp_path, effective=effective)).missing_to_leave_root)

    everything = (1 << 41) - 1
    assert missing(0) == {"setgid", "setuid"}
    assert missing(everything) == set()
    for name, number in {"setgid": 6, "setuid": 7}.items():
        assert missing(everything & ~(1 << number)) == {name}


@pytest.mark.parametrize(("name", "number"), USEFUL.items())
def test_each_capability_has_its_number(name: str, number: int, tmp_path: Path) -> None:
    assert Privileges.look(status(tmp_path, bounding=1 << number)).bounding == {name}


def test_capabilities_of_no_use_are_left_out(tmp_path: Path) -> None:
    everything = (1 << 41) - 1
    assert Privileges.look(status(tmp_path, bounding=everything)).bounding == ALL
    assert Privileges.look(status(tmp_path, bounding=everything & ~MASK)).bounding == frozenset()


def test_this_process_can_look_at_itself() -> None:
    assert Privileges.look().uid == os.geteuid()


@pytest.mark.process
def test_real_process_sees_what_it_was_given(tmp_path: Path) -> None:
    """The kernel and setpriv, not a file of ours, say what the facts are."""
    given = ["--bounding-set=-all,+net_raw,+net_bind_service,+chown", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"]
    command = ["setpriv", "--reuid=65534", "--clear-groups", *given, "--no-new-privs", "cat", "/proc/self/status"]
    status = tmp_path / "status"
    status.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found = Privileges.look(status, init=status)
    assert found.bounding == {"net_bind_service", "net_raw"}
    assert found.ambient == {"net_raw"}
    assert found.no_new_privileges


# What services will have.


def test_nothing_can_be_raised_under_no_new_privileges() -> None:
    found = replace(NONE, bounding=ALL, ambient=frozenset({"net_raw"}), no_new_privileges=True)
    assert found.raised == {"net_raw"}, "what is inherited already stays"


def test_nothing_can_be_raised_where_file_capabilities_do_not_count() -> None:
    assert replace(NONE, bounding=ALL).raised == ALL
    lost = replace(NONE, bounding=ALL, ambient=frozenset({"net_raw"}), heeded=False)
    assert lost.raised == {"net_raw"}
    assert launcher(lost, uid=568, gid=568) == []


def test_capabilities_of_a_file_count_only_while_it_has_them(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        program = tmp_path / "setpriv"
        program.touch()
        # As setcap writes it: the second version, net_raw permitted, nothing inheritable.
        os.setxattr(program, "security.capability", struct.pack("<5I", 2 << 24, 1 << USEFUL["net_raw"], 0, 0, 0))
        assert privileges._is_heeded(program)
        copy = tmp_path / "copy"
        copy.write_bytes(program.read_bytes())
        assert not privileges._is_heeded(copy)
    assert not privileges._is_heeded(tmp_path / "absent")


# How they come to it.


def test_nothing_is_put_before_a_command_when_nothing_changes() -> None:
    assert launcher(NONE, uid=568, gid=568) == []
    settled = replace(NONE, bounding=ALL, ambient=ALL, no_new_privileges=True)
    assert launcher(settled, uid=568, gid=568) == []


def test_root_drops_to_the_user_and_hands_down_what_it_may() -> None:
    ambient = frozenset({"net_raw", "net_bind_service"})
    root = Privileges(0, ambient, ambient, no_new_privileges=True)
    assert launcher(root, uid=568, gid=569) == [
        str(SETPRIV),
        "--reuid=568",
        "--regid=569",
        "--clear-groups",
        "--inh-caps=+net_bind_service,+net_raw",
        "--ambient-caps=+net_bind_service,+net_raw",
    ]


def test_root_without_capabilities_only_drops() -> None:
    root = Privileges(0, frozenset(), frozenset(), no_new_privileges=False)
    assert launcher(root, uid=568, gid=568) == [str(SETPRIV), "--reuid=568", "--regid=568", "--clear-groups"]


@pytest.mark.process
def test_setpriv_understands_what_we_say_to_it() -> None:
    ambient = frozenset({"net_raw"})
    argv = launcher(Privileges(0, ambient, ambient, no_new_privileges=False), uid=65534, gid=65534)
    command = ["setpriv", *argv[1:], "grep", "-E", "^(Uid|Gid|CapAmb)", "/proc/self/status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("Uid:", *["65534"] * 4, "Gid:", *["65534"] * 4, "CapAmb:", f"{1 << USEFUL['net_raw']:016x}")
    ]


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (replace(NONE, effective=ALL), ""),
        (NONE, "it needs NET_RAW, which this container does not have; add it to the container: cap_add: [NET_RAW]"),
        (
            replace(NONE, bounding=ALL, no_new_privileges=True),
            "it needs NET_RAW, which this container does not have; start the container without no-new-privileges,",
        ),
        (
            replace(NONE, bounding=ALL, heeded=False),
            "it needs NET_RAW, which this container does not have; the image lies on a file system without ",
        ),
    ],
    ids=["it has it", "it was not given", "it was given and may not be raised", "file capabilities do not count"],
)
def test_what_a_service_lacks_is_told_with_the_line_to_add(here: Privileges, told: str) -> None:
    assert here.lacks(["net_raw"]).startswith(told)
    assert here.lacks([]) == ""


@pytest.mark.parametrize(("text", "free"), [("0\n", True), ("53\n", True), ("1024\n", False), ("", False)])
def test_ports_are_free_for_all_on_a_docker_bridge(tmp_path: Path, text: str, free: bool) -> None:
    (tmp_path / "start").write_text(text)
    assert ports_are_free(start=tmp_path / "start") is free
    assert not ports_are_free(start=tmp_path / "absent")
