"""What is left of an end that nobody wished, and of every end of the container."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Container, until

from maas_init import lastwords
from maas_init.errors import ExitCode
from maas_init.lastwords import Memory
from maas_init.paths import Paths

CHATTY = "for n in $(seq 300); do echo line $n; done; exec sleep 1000"


def test_newest_ten_of_each_service_are_kept(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    for minute in range(10, 25):
        lastwords.leave(where, "regiond", f"2026-01-01T00:{minute}:00.000Z", f"end {minute}", [])
    lastwords.leave(where, "regiond-like", "2026-01-01T00:00:00.000Z", "another's", [])
    assert [lastwords.first_line(file) for file in lastwords.of(where, "regiond")] == [
        f"end {n}" for n in range(15, 25)
    ]
    assert lastwords.since(where, "2026-01-01T00:24:00.000Z") == ["end 24"]
    assert lastwords.since(where, "2026-01-01T00:00:00.000Z")[0] == "another's"


def test_an_end_that_is_told_twice_is_kept_as_it_was(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    for head in ("first", "second"):
        lastwords.leave(where, "rackd", "2026-01-01T00:00:00.000Z", head, ["a line"])
    assert [lastwords.first_line(file) for file in lastwords.of(where, "rackd")] == ["first"]


def test_a_file_keeps_the_newest_of_long_lines(tmp_path: Path) -> None:
    where = Paths(tmp_path)
    lastwords.leave(where, "rackd", "2026-01-01T00:00:00.000Z", "it ended", [*(200 * ["x" * 9999]), "the last"])
    text = lastwords.of(where, "rackd")[0].read_text()
    assert text.startswith("it ended\n")
    assert text.endswith("the last\n")
    assert len(text) < lastwords.LARGEST + 100


@pytest.mark.parametrize(
    ("used", "limit", "unlimited", "counters"),
    [
        ("memory.current", "memory.max", "max", "memory.events"),
        (
            "memory/memory.usage_in_bytes",
            "memory/memory.limit_in_bytes",
            "9223372036854771712",
            "memory/memory.oom_control",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_memory_is_read_from_the_control_group(
    tmp_path: Path, used: str, limit: str, unlimited: str, counters: str
) -> None:
    where = Paths(tmp_path)
    group = where.at("/sys/fs/cgroup")
    (group / used).parent.mkdir(parents=True)
    (group / used).write_text(f"{300 << 20}\n")
    (group / limit).write_text(f"{unlimited}\n")
    (group / counters).write_text("under_oom 0\noom_kill 3\n")
    found = lastwords.memory(where)
    assert found == Memory(300 << 20, None, 3)
    assert "300 MiB used; the kernel killed 2 for want of memory" in found.since(Memory(0, None, 1))
    assert "killed nothing for want of memory" in found.since(found)
    (group / limit).write_text(f"{400 << 20}\n")
    assert "300 of 400 MiB used" in lastwords.memory(where).since(found)


def test_memory_without_a_control_group_is_not_known(tmp_path: Path) -> None:
    found = lastwords.memory(Paths(tmp_path))
    assert found.since(found) == "memory: the control group does not tell"


@pytest.fixture
def container() -> Iterator[Container]:
    box = Container()
    yield box
    box.close()


def chatty(container: Container, name: str) -> None:
    """Add a service that prints 300 lines to a file of its own and then waits."""
    container.paths.maas_logs.mkdir(parents=True, exist_ok=True)
    program = {"stdout_logfile": f"{container.paths.maas_logs}/{name}.log"}
    container.service(name, command=f"/bin/sh -c '{CHATTY}'", program=program, critical="yes")


def only(container: Container, name: str) -> str:
    """Wait for the last words of `name`; return them."""
    files = until(lambda: lastwords.of(container.paths, name))
    assert len(files) == 1
    return files[0].read_text()


@pytest.mark.process
def test_a_killed_service_leaves_its_signal_its_memory_and_its_last_200_lines(container: Container) -> None:
    chatty(container, "regiond")
    container.service("other", critical="yes")
    container.start()
    until(lambda: container.all_("healthy") and "line 300" in container.output)
    pid = container.of("regiond")["pid"]
    container.kill("regiond")

    words = only(container, "regiond")
    assert words.startswith("regiond was killed by SIGKILL ")
    assert f"(process {pid})" in words.splitlines()[0]
    assert "\nmemory: " in words
    assert "\nwanted on by init: it is part of this container\n" in words
    lines = words.partition("The last lines:\n")[2].splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(n) for n in range(101, 301)]

    shown = container.verb("why", "regiond").stdout
    assert shown.startswith("regiond is ready")
    assert words.splitlines()[0] in shown
    assert "line 300" in shown
    assert "How it ended" not in container.verb("why", "other").stdout


@pytest.mark.process
def test_what_was_wished_leaves_no_last_words(container: Container) -> None:
    container.service("web", critical="yes")
    container.service("once", type="oneshot", command="/bin/true", program={"autorestart": "false"})
    container.start()
    until(lambda: container.all_("healthy") and container.is_("once", "ready"))
    container.supervisorctl("restart", "web")
    until(lambda: container.all_("healthy"))
    assert container.stop() == ExitCode.STOPPED
    assert [file.name.partition(".")[0] for file in container.paths.last_words.iterdir()] == ["container"]


@pytest.mark.process
def test_a_service_that_does_not_answer_leaves_last_words_before_its_restart(container: Container) -> None:
    container.service("web", probed=True, on_check_failure="restart", critical="yes")
    container.answer("web")
    container.start()
    until(lambda: container.all_("healthy"))
    container.answer("web", yes=False)
    until(lambda: lastwords.of(container.paths, "web"))
    container.answer("web")
    words = lastwords.of(container.paths, "web")[0].read_text()
    assert words.startswith("web was restarted because it does not answer: ")


@pytest.mark.process
def test_a_killed_listener_leaves_last_words_and_tells_no_other_s_twice(container: Container) -> None:
    container.service("web", critical="yes")
    container.start()
    until(lambda: container.all_("healthy"))
    container.kill("web")
    words = only(container, "web")
    container.signal(signal.SIGKILL, "health")
    assert only(container, "health").startswith("health was killed by SIGKILL ")
    assert only(container, "web") == words


@pytest.mark.process
def test_the_container_s_end_is_summed_up_in_the_log_and_in_a_file(container: Container) -> None:
    container.service("web", critical="yes")
    container.start()
    until(lambda: container.all_("healthy"))
    container.kill("web")
    only(container, "web")
    assert container.stop() == ExitCode.STOPPED

    assert 'service.ended how="web was killed by SIGKILL ' in container.lines[-2]
    assert 'container.stopped code=0 reason="asked to stop"' in container.lines[-1]
    words = only(container, "container")
    assert words.startswith("the container ended with code 0 at ")
    assert ": asked to stop\n" in words
    assert "web was killed by SIGKILL " in words
