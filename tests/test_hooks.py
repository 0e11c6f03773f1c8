"""Hooks and the operator's own service files: real programs at real moments of the container's life."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from harness import Container, until

from maas_init import hooks
from maas_init.errors import ExitCode
from maas_init.paths import Paths

pytestmark = pytest.mark.process


def add(where: Paths, event: str, name: str, script: str, mode: int = 0o755) -> Path:
    path = where.hooks / event / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


def told(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition(" maas-init ")[2] for line in capfd.readouterr().err.splitlines()]


def test_each_runs_at_its_moment_and_what_it_says_is_logged(container: Container) -> None:
    journal = container.journal_file
    for event in hooks.WITHIN:
        add(container.paths, event, "10-note", f"echo {event} >> {journal}; echo heard $MAAS_INIT_EVENT; id -u >&2")
    container.service("web", critical="yes")
    container.start()
    until(lambda: "ready" in container.journal())
    assert container.stop() == ExitCode.STOPPED
    told = container.journal()
    told.remove("started web")  # supervisord knows that it runs before it says so itself
    assert told == ["configured", "ready", "stopping", "SIGTERM web", "ended web"]
    for event in hooks.WITHIN:
        assert f'hook.said hook={event}/10-note line="heard {event}"' in container.output
        assert f"hook.ended hook={event}/10-note how=well " in container.output


def test_ready_comes_once_also_when_the_listener_is_another_one(container: Container) -> None:
    add(container.paths, "ready", "note", f"echo ready >> {container.journal_file}")
    container.service("web", critical="yes")
    container.start()
    until(lambda: "ready" in container.journal())
    before = container.pid("health")
    container.signal(9, "health")
    until(lambda: container.pid("health") not in (0, before) and container.all_("healthy"))
    container.kill("web")
    until(lambda: container.all_("healthy"))
    assert container.journal().count("ready") == 1


def test_container_stops_in_time_although_a_hook_does_not_end(container: Container) -> None:
    add(container.paths, "stopping", "endless", "trap '' TERM; sleep 1000 & sleep 1000")
    container.service("web", critical="yes")
    container.start()
    until(lambda: container.all_("healthy"))
    assert container.stop() == ExitCode.STOPPED
    assert "the hooks for stopping have 1.5 s together" in container.output
    assert container.journal()[-1] == "ended web"


# One event by itself.


def test_they_run_in_order_one_that_fails_harms_no_other_and_copies_are_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = Paths(tmp_path)
    add(where, "ready", "20-b", "echo b")
    add(where, "ready", "10-a", "echo a; exit 3")
    add(where, "ready", "30-c", "kill -9 $$")
    add(where, "ready", "40-d", "echo d", mode=0o644)
    for name in (".50-hidden", "60-copy~"):
        add(where, "ready", name, "echo never")

    hooks.run(where, "ready")

    lines = [line.partition(" seconds=")[0] for line in told(capfd)]
    assert lines == [
        "hook.said hook=ready/10-a line=a",
        'hook.ended hook=ready/10-a how="it exited with 3"',
        "hook.said hook=ready/20-b line=b",
        "hook.ended hook=ready/20-b how=well",
        'hook.ended hook=ready/30-c how="it was killed by signal 9"',
        'hook.ended hook=ready/40-d how="it is not executable"',
    ]


def test_a_hook_has_no_rights_and_sees_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "never-heard-of")
    where = Paths(tmp_path)
    add(where, "ready", "look", "grep -E '^(Cap(Inh|Amb|Eff|Prm)|NoNewPrivs)' /proc/self/status; env")
    hooks.run(where, "ready")
    text = "\n".join(told(capfd))
    assert text.count("0000000000000000") == 4, "also where a test runs as root"
    assert "NoNewPrivs:\\t1" in text
    assert "MAAS_INIT_EVENT=ready" in text and "never-heard-of" not in text


def test_what_waits_for_ever_is_killed_with_all_that_it_started(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hooks.WITHIN, "ready", 0.5)
    where = Paths(tmp_path)
    add(where, "ready", "endless", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    add(where, "ready", "late", "echo late")
    hooks.run(where, "ready")
    text = "\n".join(told(capfd))
    assert 'hook=ready/endless how="it was killed: the hooks for ready have 0.5 s together' in text
    assert 'hook=ready/late how="it was not run: the hooks for ready have 0.5 s together' in text
    child = int((tmp_path / "child").read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = Paths(tmp_path)
    add(where, "ready", "daemon", f"echo begun; sleep 1000 & echo $! > {tmp_path}/child")
    hooks.run(where, "ready")
    assert told(capfd)[0] == "hook.said hook=ready/daemon line=begun"
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_of_much_output_the_end_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = Paths(tmp_path)
    add(where, "ready", "flood", "yes | head -n 1000000; echo last")
    hooks.run(where, "ready")
    lines = told(capfd)
    assert len(lines) <= hooks.KEPT
    assert [line.partition(" seconds=")[0] for line in lines[-1:]] == ["hook.ended hook=ready/flood how=well"]


def test_nothing_happens_without_hooks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hooks.run(Paths(tmp_path), "ready")
    (tmp_path / "etc/maas-init/hooks.d/ready").mkdir(parents=True)
    hooks.run(Paths(tmp_path), "ready")
    assert told(capfd) == []


# Service files.


def test_operator_s_service_runs_and_takes_the_place_of_ours(container: Container) -> None:
    container.service("web", critical="yes")
    container.service("extra", "ours")
    drop_ins = container.paths.drop_ins
    drop_ins.mkdir(parents=True)
    text = (container.services / "extra.conf").read_text()
    (drop_ins / "extra.conf").write_text(text.replace(" ours", " theirs"))
    (drop_ins / "own.conf").write_text(text.replace("extra", "own").replace(" ours", "") + "requires = web\n")
    container.start()
    until(lambda: container.all_("healthy") and container.is_("own", "ready"))
    argv = {each.argv[-1] for each in container.processes() if "toy.py" in " ".join(each.argv)}
    assert "theirs" in argv and "ours" not in argv
    assert container.of("own")["requires"] == ["web"]
    assert json.loads(container.verb("status", "--json").stdout)["services"].keys() >= {"own", "extra", "web"}


def test_operator_s_file_that_changes_later_harms_nothing_before_the_next_start(container: Container) -> None:
    container.service("web", critical="yes")
    drop_ins = container.paths.drop_ins
    drop_ins.mkdir(parents=True)
    (drop_ins / "own.conf").write_text((container.services / "web.conf").read_text().replace("web", "own"))
    (drop_ins / ".own.conf.swp.conf").write_text("half")
    container.start()
    until(lambda: container.all_("healthy") and container.is_("own", "ready"))
    (drop_ins / "own.conf").write_text("nonsense")
    before = container.pid("health")
    container.signal(signal.SIGKILL, "health")
    until(lambda: container.pid("health") not in (0, before) and container.all_("healthy"))
    container.kill("own")


def test_operator_s_file_that_cannot_be_used_is_named(container: Container) -> None:
    container.service("web", critical="yes")
    container.paths.drop_ins.mkdir(parents=True)
    broken = container.paths.drop_ins / "own.conf"
    broken.write_text("[program:own]\ncommand = /bin/true\n[service:own]\n")
    container.start()
    assert container.wait() == ExitCode.BAD_SETTINGS
    assert f'cannot use {broken}: [program:own] autostart is "true"' in container.output
    assert "give false" in container.output
