"""`python -m bench`: measures, keeps the raw values in build/bench, and writes the page's tables."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import image, report
from .duties import DUTIES, Duty
from .life import Never
from .peers import BUILD, PEERS, Peer

PAGE = Path(__file__).parents[1] / "docs/explanation/performance.md"
DESCRIPTORS = 65536
"""As many as Docker allows: 500 services need more than the 1,024 of a shell."""


def main() -> int:
    """Do what the command line says."""
    chosen = _parser().parse_args()
    # Whoever ends it early, by whatever means: no peer is left running.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    peers = [peer for peer in PEERS if peer.name in chosen.peers]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    duties = [*DUTIES, *image.DUTIES] if image.is_there() else DUTIES
    for duty in duties:
        if duty.name in chosen.only:
            found = measure(duty, peers, chosen.repetitions)
            (BUILD / f"{duty.name}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(report.table(duty, found))
    if chosen.page:
        report.write(chosen.page, BUILD)
    return 0


def measure(duty: Duty, peers: Sequence[Peer], repetitions: int) -> report.Found:
    """Ask for the duty so often; who comes first changes, so that nobody always has the warm or the busy machine."""
    values = []
    load = [os.getloadavg()[0]]
    for repetition in range(repetitions):
        first = repetition % len(peers)
        print(f"{duty.name}: {repetition + 1} of {repetitions}", file=sys.stderr, flush=True)
        try:
            for value in duty.once([*peers[first:], *peers[:first]]):
                values.append({"repetition": repetition, "who": value.who, "what": value.what, "value": value.value})
        except Never as error:
            # A peer that did not even start: the rest of this repetition is missing, and the page says how many are.
            print(f"{duty.name}: given up in repetition {repetition + 1}: {error}", file=sys.stderr, flush=True)
    load.append(os.getloadavg()[0])
    return {
        "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "repetitions": repetitions,
        "load": load,
        "machine": report.machine(),
        "values": values,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure maas-init beside its peers.")
    names = [duty.name for duty in (*DUTIES, *image.DUTIES)]
    parser.add_argument("--repetitions", type=int, default=10, metavar="N", help="how often (default: 10)")
    parser.add_argument(
        "--only", type=_some_of(names), default=names, metavar="DUTY,...", help=f"only these of {', '.join(names)}"
    )
    everybody = [peer.name for peer in PEERS]
    parser.add_argument(
        "--peers", type=_some_of(everybody), default=everybody, metavar="PEER,...", help=f"of {'; '.join(everybody)}"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are written")
    parser.add_argument("--no-page", action="store_const", const=None, dest="page", help="write none")
    return parser


def _some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        for word in text.split(","):
            if word not in names:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(names)}")
        return text.split(",")

    return chosen


if __name__ == "__main__":
    sys.exit(main())
