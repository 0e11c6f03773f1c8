"""The whole image's warm start: how much of it is maas-init's. Only where the test image was built already."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime

from .duties import Duty, Value, Values
from .life import Never
from .peers import OUR_SETTINGS, OURS, Peer

IMAGE = "maas-init-test:3.5"
"""What `make test-image` builds, with the simulator in place of MAAS."""
PATIENCE = 300.0
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
    name = f"maas-init-bench-{secrets.token_hex(4)}"
    settings = [word for key, value in OUR_SETTINGS.items() for word in ("--env", f"{key}={value}")]
    capabilities = [f"--cap-add={each}" for each in ("NET_RAW", "NET_BIND_SERVICE")]
    options = ["--name", name, "--hostname", "maas", "--health-interval", "1s", *capabilities, *settings]
    try:
        _docker("run", "--detach", *options, IMAGE)
        _wait_until_healthy(name)
        _docker("stop", name)
        _docker("start", name)
        _wait_until_healthy(name)
        began = _docker("inspect", "--format", "{{.State.StartedAt}}", name)
        log = _docker("logs", "--since", began, name).splitlines()
    finally:
        _docker("rm", "--force", "--volumes", name)
    for event, what in STEPS.items():
        times = [line.split()[0] for line in log if f" {event} " in f"{line} "]
        yield Value(OURS.name, what, _milliseconds(began, times[0]) if times else None)
    times = [line.split()[0] for line in log if " service.ready " in line]
    yield Value(OURS.name, "last service ready, ms", _milliseconds(began, times[-1]) if times else None)


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


DUTY = Duty(
    "image",
    "A warm start of the image",
    "From Docker's start of a container that was healthy before (with the simulator in place of MAAS) to what its log "
    "says. Until supervisord is started all is maas-init's; from bootstrap's end on it is the services'.",
    warm_start,
)
