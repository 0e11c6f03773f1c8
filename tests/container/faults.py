"""What is seen of a fault: what the status said, what was done, how long it took. `make faults` makes a page of it."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .docker import Container

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "build/faults"
PAGE = ROOT / "docs/explanation/when-something-breaks.md"
BEGIN, END = "<!-- written by make faults: do not edit below -->\n", "<!-- written by make faults: end -->\n"

STARTING = ("is up: it is starting", "is up: no answer yet", "is down: no answer yet")
DONE = (
    (re.compile(r"health service\.reloaded service=(\S+)"), "{} reads its configuration anew"),
    (re.compile(r"health service\.restarted service=(\S+)"), "{} restarted"),
    (re.compile(r"maas-init listener\.stuck"), "the listener killed by process 1"),
    (re.compile(r"maas-init container\.stopped"), "the container ends"),
    (re.compile(r"supervisord spawned: '(\S+)'"), "{} started"),
)


@contextmanager
def fault(maas: Container, what: str, *, under: str = "") -> Iterator[None]:
    """Note what the status says and the log tells while the block lasts, in which all must become well again.

    Faults with the same `under` are told in one place.
    """
    began, before = time.monotonic(), len(maas.logs().splitlines())
    with watched(maas) as said:
        yield
    seconds = time.monotonic() - began
    done = []
    for line in maas.logs().splitlines()[before:]:
        done += [words.format(*found.groups()) for pattern, words in DONE for found in [pattern.search(line)] if found]
    NOTES.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")
    row = {"under": under, "what": what, "said": said[:1], "done": list(dict.fromkeys(done)), "seconds": seconds}
    (NOTES / f"{name}.json").write_text(json.dumps(row) + "\n")


@contextmanager
def watched(maas: Container) -> Iterator[list[str]]:
    """Look at the status all the time; the list has each summary that told of something wrong, the first one first."""
    said: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            found = maas.status()
            wrong = found["level"] in ("degraded", "unhealthy") and not found["summary"].endswith(STARTING)
            if wrong and found["summary"] not in said:
                said.append(found["summary"])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield said
    finally:
        ended.set()
        watcher.join()


def table() -> str:
    """Return the noted faults as a table."""
    rows = [json.loads(file.read_text()) for file in NOTES.glob("*.json")]
    lines = ["| fault | the status said | what was done | all well after |", "|---|---|---|---:|"]
    for row in sorted(rows, key=lambda row: (row["under"], row["what"])):
        said = (
            "; ".join(row["said"]).replace("|", "\\|").replace('\\"', '"')
            or "nothing: it was back before anybody looked"
        )
        done = ", ".join(row["done"]) or "nothing"
        lines.append(f"| {row['what']} | {said} | {done} | {row['seconds']:.1f} s |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page's table."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    measured = f"Seen on {time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} processors.\n"
    PAGE.write_text(f"{head}{BEGIN}\n{measured}\n{table()}\n{END}{tail}")


if __name__ == "__main__":
    main()
