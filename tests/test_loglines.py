"""Log lines: one time, one level and the service's name, whatever a daemon prints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_init import loglines, masks
from maas_init.loglines import Assembler, Record


def heard(*pieces: bytes, service: str = "bind9") -> list[tuple[str, str]]:
    assembler = Assembler(service)
    records = [record for piece in pieces for record in assembler.feed(piece)]
    return [(record.level, record.message) for record in [*records, *assembler.flush()]]


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("24-Nov-2026 13:26:34.093 running", "info", "running"),
        ("2026/11/24 13:26:31| Service Name: squid", "info", "Service Name: squid"),
        ("2026/11/24 13:26:31| WARNING: no_suid", "warning", "no_suid"),
        (
            '2026/11/24 13:26:39 [error] 135#135: *225 no live upstreams, host: "a"',
            "error",
            '135#135: *225 no live upstreams, host: "a"',
        ),
        ("2026-11-24T13:26:31Z chronyd version 4.3 starting", "info", "chronyd version 4.3 starting"),
        ("LOG:  database system is ready", "info", "database system is ready"),
        ('FATAL:  role "x" does not exist', "critical", 'role "x" does not exist'),
        (
            "maasserver.rpc: [warn] Rack 'a' is late",
            "warning",
            "maasserver.rpc: [warn] Rack 'a' is late",
        ),
        ("INF Service MAAS Agent started", "info", "Service MAAS Agent started"),
        ("Information is not a level", "info", "Information is not a level"),
        ("errors are counted", "info", "errors are counted"),
        ("DHCPDISCOVER from 52:54:00:12:34:56 via eth0", "info", "DHCPDISCOVER from 52:54:00:12:34:56 via eth0"),
        ("\x1b[31mred\x1b[0m\x07", "info", "red"),
        ("error", "error", "error"),
    ],
)
def test_time_and_level_are_taken_from_every_daemon_s_form(line: str, level: str, message: str) -> None:
    assert heard(line.encode() + b"\n") == [(level, message)]


def test_our_own_lines_keep_their_time_and_get_the_service_s_name() -> None:
    line = "2026-11-24T13:26:31.095Z warning maas-init schema.slow seconds=3\n"
    assert list(Assembler("bootstrap").feed(line.encode())) == [
        Record("2026-11-24T13:26:31.095Z", "warning", "bootstrap", "schema.slow seconds=3")
    ]


def test_pieces_of_a_line_are_put_together() -> None:
    assert heard(b"one ", b"line\nand ", b"half") == [("info", "one line"), ("info", "and half")]


def test_traceback_is_one_record() -> None:
    text = b'Traceback (most recent call last):\n  File "a.py", line 1\n\n    x()\nValueError: no\nnext\n'
    want = 'Traceback (most recent call last):\n  File "a.py", line 1\n\n    x()\nValueError: no'
    for cut in range(len(text)):
        assert heard(text[:cut], text[cut:]) == [("error", want), ("info", "next")]


def test_endless_traceback_and_endless_line_are_cut() -> None:
    assert len(heard(b"Traceback (most recent call last):\n" + b"  more\n" * 1000)) > 3
    pieces = heard(b"x" * (loglines.LONGEST * 2 + 5), b"\n", b"y" * (loglines.LONGEST + 1) + b"\n")
    assert [len(message) for _, message in pieces] == [loglines.LONGEST, loglines.LONGEST, 5, loglines.LONGEST, 1]


@pytest.mark.parametrize("step", [1000, 4096, 65536])
@pytest.mark.parametrize("before", [loglines.LONGEST - 5, loglines.LONGEST, loglines.LONGEST + loglines.KEPT_BACK - 5])
@pytest.mark.parametrize("after", [0, 3, 50_000])
def test_what_is_hidden_is_not_cut_into_harmless_halves(step: int, before: int, after: int) -> None:
    printed = b"x" * before + b"a secret value" + b"y" * after + b"\n"
    assembler = loglines.Assembler("regiond", masks.Masks(["a secret value"]).hide)
    records = [
        record for start in range(0, len(printed), step) for record in assembler.feed(printed[start : start + step])
    ]
    text = "".join(record.message for record in (*records, *assembler.flush()))

    assert text == "x" * before + masks.HIDDEN + "y" * after
    assert all(len(record.message) <= loglines.LONGEST for record in records)


def test_every_line_of_a_record_is_labelled_and_read_back() -> None:
    record = Record("2026-11-24T13:26:31.095Z", "error", "regiond", "first\n\n  last")
    lines = loglines.render(record).splitlines(keepends=True)
    parsed = [loglines.parse(line) for line in lines]
    assert [each and each.message for each in parsed] == ["first", "", "  last"]
    assert all(each and (each.time, each.level, each.service) == (record.time, "error", "regiond") for each in parsed)


def test_json_is_one_line_for_each_record() -> None:
    record = Record("2026-11-24T13:26:31.095Z", "error", "regiond", 'a "b"\nü')
    text = loglines.render(record, "json")
    assert text.count("\n") == 1
    told = {"time": record.time, "level": "error", "service": "regiond", "message": 'a "b"\nü'}
    assert json.loads(text) == told


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_nothing_that_a_service_prints_makes_it_fail_or_breaks_a_line(pieces: list[bytes]) -> None:
    assembler = Assembler("any")
    for record in [*(record for piece in pieces for record in assembler.feed(piece)), *assembler.flush()]:
        assert all(loglines.parse(line) for line in loglines.render(record).split("\n")[:-1])


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"regiond: [info] 127.0.0.1 GET /MAAS/rpc/ HTTP/1.1 --> 200 OK (referrer: -; agent: maas-init)", False),
        (b'INFO:     - "GET /api/v2/ HTTP/1.1" 200 OK', False),
        (b"provisioningserver.rackdservices.tftp: [info] maas-init.txt requested by 127.0.0.1", False),
        (b"regiond: [info] 127.0.0.1 GET /MAAS/rpc/ HTTP/1.1 --> 200 OK (referrer: -; agent: curl)", True),
        (b'INFO:     - "GET /api/v2/ HTTP/1.1" 500 Internal Server Error', True),
        (b"provisioningserver.rackdservices.tftp: [info] lpxelinux.0 requested by 192.0.2.7", True),
    ],
)
def test_what_tells_only_of_our_own_questions_is_no_news(line: bytes, kept: bool) -> None:
    assert bool([*loglines.Assembler("any").feed(line + b"\n")]) is kept


def test_traceback_of_twisted_is_one_record_and_takes_nothing_else_with_it() -> None:
    told = heard(
        b"provisioningserver.rpc: [critical] Lost it\n"
        b"\tTraceback (most recent call last):\n"
        b'\t  File "/usr/lib/x.py", line 1, in f\n'
        b"\tbuiltins.ValueError: no\n"
        b"\t\n"
        b"twisted: [info] going on\n"
    )
    assert [level for level, _ in told] == ["critical", "error", "info"]
    assert told[1][1].splitlines()[-1].strip() == "builtins.ValueError: no"
    unfinished = heard(b"\tTraceback (most recent call last):\n\tbuiltins.ValueError: no\ntwisted: [info] going on\n")
    assert [level for level, _ in unfinished] == ["error", "info"]


def test_traceback_with_a_prefix_on_each_line_is_one_record() -> None:
    told = heard(
        b"stderr: [error] Traceback (most recent call last):\n"
        b'stderr: [error]   File "/usr/lib/x.py", line 1, in f\n'
        b"stderr: [error] ValueError: no\n"
        b"stderr: [error] something else\n"
    )
    assert len(told) == 2
    assert told[0][1].splitlines()[-1] == "ValueError: no"
