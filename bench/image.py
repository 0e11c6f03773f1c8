"""The whole image, when it starts and when it rests: how much is maas-init's. Only where the test image is there."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from .duties import Duty, Value, Values
from .life import Never, cpu_milliseconds
from .peers import OUR_SETTINGS, OURS, Peer

IMAGE = "maas-init-test:3.5"
"""What `make test-image` builds, with the simulator in place of MAAS."""
PATIENCE = 300.0
REST_AFTER, REST_SECONDS = 90.0, 60.0
"""Seconds: what services may take to start is over then, for most; and what is measured."""
PARTS = {"maas-init run": "process 1", "maas_init.supervisord": "supervisord", "maas-init listen": "listener"}
"""Words of a command line, and what they tell."""
OTHERS = "all services"
STEPS = {
    "container.examined": "boot done, ms",
    "configuration.written": "configured, ms",
    "supervisord.started": "supervisord started, ms",
    "service.ready": "first service ready, ms",
    "service.ready service=bootstrap": "bootstrap done, ms",
}
"""Events of the container's log, and what the first of each means."""


def _docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def is_there() -> bool:
    """Return whether an engine answers and has the image."""
    try:
        return bool(_docker("image", "inspect", "--format", "{{.Id}}", IMAGE))
    except FileNotFoundError:
        return False


def warm_start(peers: Sequence[Peer]) -> Values:
    """Start a container that was healthy before; yield when each step of its log was reached."""
    if OURS not in peers:
        return
    with _healthy_container("--health-interval", "1s") as name:
        _docker("stop", name)
        _docker("start", name)
        _wait_until_healthy(name)
        began = _docker("inspect", "--format", "{{.State.StartedAt}}", name)
        log = _docker("logs", "--since", began, name).splitlines()
    for event, what in STEPS.items():
        times = [line.split()[0] for line in log if f" {event} " in f"{line} "]
        yield Value(OURS.name, what, _milliseconds(began, times[0]) if times else None)
    times = [line.split()[0] for line in log if " service.ready " in line]
    yield Value(OURS.name, "last service ready, ms", _milliseconds(began, times[-1]) if times else None)


def at_rest(peers: Sequence[Peer]) -> Values:
    """Leave a healthy container alone; yield the processor time of each of our processes, and of all others."""
    if OURS not in peers:
        return
    with _healthy_container() as name:
        time.sleep(REST_AFTER)
        found: dict[str, list[int]] = {what: [] for what in (*PARTS.values(), OTHERS)}
        for line in _docker("top", name, "-eo", "pid,args").splitlines()[1:]:
            pid, _, command = line.strip().partition(" ")
            found[next((what for word, what in PARTS.items() if word in command), OTHERS)].append(int(pid))
        before = {what: cpu_milliseconds(pids) for what, pids in found.items()}
        time.sleep(REST_SECONDS)
        for what, pids in found.items():
            used = (cpu_milliseconds(pids) - before[what]) * 60 / REST_SECONDS
            yield Value(OURS.name, f"{what}, ms/min", used if pids else None)


@contextlib.contextmanager
def _healthy_container(*options: str) -> Iterator[str]:
    name = f"maas-init-bench-{secrets.token_hex(4)}"
    settings = [word for key, value in OUR_SETTINGS.items() for word in ("--env", f"{key}={value}")]
    capabilities = [f"--cap-add={each}" for each in ("NET_RAW", "NET_BIND_SERVICE")]
    try:
        _docker("run", "--detach", "--name", name, "--hostname", "maas", *options, *capabilities, *settings, IMAGE)
        _wait_until_healthy(name)
        yield name
    finally:
        _docker("rm", "--force", "--volumes", name)


def _wait_until_healthy(name: str) -> None:
    last = time.monotonic() + PATIENCE
    while _docker("inspect", "--format", "{{.State.Health.Status}}", name) != "healthy":
        if time.monotonic() > last:
            raise Never(f"the container was not healthy within {PATIENCE:g} s")
        time.sleep(0.5)


def _milliseconds(began: str, stamp: str) -> float:
    # Docker writes nanoseconds, which fromisoformat does not read.
    first = datetime.fromisoformat(f"{began[:23].rstrip('Z'):0<23}+00:00")
    return (datetime.fromisoformat(stamp.replace("Z", "+00:00")) - first).total_seconds() * 1000


DUTIES = (
    Duty(
        "image",
        "A warm start of the image",
        "From Docker's start of a container that was healthy before (with the simulator in place of MAAS) to what its "
        "log says. Until supervisord is started all is maas-init's; from bootstrap's end on it is the services'.",
        warm_start,
    ),
    Duty(
        "image-idle",
        "The image with nothing to do",
        f"Processor time of a container that was healthy for {REST_AFTER:g} s, with its real daemons, the simulator in "
        "place of MAAS, and all its checks.",
        at_rest,
    ),
)
