"""The bench's tables: from values that nobody measured. What they are made from is measured by `make bench` alone."""

from __future__ import annotations

import json
from pathlib import Path

from bench import report
from bench.duties import DUTIES, Duty
from bench.peers import OURS, PEERS

DUTY = Duty("stop", "Stopping", "What is seen.", lambda _: iter(()))


def found(**values: list[float | None]) -> report.Found:
    """Return what would be kept of one duty; `ours` is maas-init's name."""
    rows = [
        {"repetition": number, "who": OURS.name if who == "ours" else who, "what": "exit after, ms", "value": value}
        for who, several in values.items()
        for number, value in enumerate(several)
    ]
    machine = {"machine": "a machine", "peers": "peer 1.0"}
    return {"at": "2026-01-01", "repetitions": 3, "load": [0.0, 1.0], "machine": machine, "values": rows}


def row(table: str, who: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"| {who} |"))


def test_cell_has_median_spread_and_how_often_ours_goes_into_it() -> None:
    table = report.table(DUTY, found(slow=[300.0, 100.0, 200.0], ours=[10.0, 20.0, 30.0]))
    assert row(table, "slow") == "| slow | 200 [100 - 300] x10 |"
    assert row(table, OURS.name) == f"| {OURS.name} | 20 [10 - 30] |"
    assert table.index(OURS.name) < table.index("slow")
    assert "3 repetitions, 2026-01-01, load 0.0 to 1.0" in table


def test_what_did_not_happen_is_told_and_not_counted() -> None:
    table = report.table(DUTY, found(ours=[10.0, 10.0], never=[None, None], seldom=[None, 5.0]))
    assert row(table, "never") == "| never | never |"
    assert row(table, "seldom") == "| seldom | 5, never 1 of 2 x0.50 |"


def test_only_the_tables_of_the_page_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\nan earlier table\n{report.END}\n\nafter\n")
    (tmp_path / "stop.json").write_text(json.dumps(found(ours=[120.0])))
    for _ in range(2):
        report.write(page, tmp_path)
        text = page.read_text()
        assert text.startswith("before\n\n<!--")
        assert text.endswith("-->\n\nafter\n")
        assert "an earlier table" not in text
        assert "Measured on a machine; peer 1.0." in text
        assert "| SIGTERM to exit, all told and waited for | 100 ms | 120 ms | missed |" in text


def test_what_was_not_measured_anew_keeps_its_table_and_its_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    title = next(duty.title for duty in DUTIES if duty.name == "stop")
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    for directory, duty, machine in ((earlier, "stop", "a machine"), (later, "hung", "another machine")):
        directory.mkdir()
        told = found(ours=[120.0]) | {"machine": {"machine": machine, "peers": "peer 1.0"}}
        (directory / f"{duty}.json").write_text(json.dumps(told))
    report.write(page, earlier)
    stopping = page.read_text().split("### ")[2].removesuffix(f"\n\n{report.END}\n")
    assert stopping.startswith(title)
    for _ in range(2):
        report.write(page, later)
        text = page.read_text()
        assert stopping in text
        assert text.count(f"### {title}") == 1
        assert text.count("| SIGTERM to exit, all told and waited for | 100 ms | 120 ms | missed |") == 1
        assert text.count("Measured on a machine;") == text.count("Measured on another machine;") == 1
        assert "### A service accepts connections" in text


def test_page_has_every_duty_and_every_peer() -> None:
    page = (Path(report.__file__).parents[1] / "docs/explanation/performance.md").read_text()
    for duty in DUTIES:
        assert f"### {duty.title}\n" in page
    for peer in PEERS:
        assert f"| {peer.name} |" in page
