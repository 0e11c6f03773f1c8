from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_init import masks
from maas_init.masks import HIDDEN, SHORTEST, Masks

SECRET = "s3cret p@ss'w\"o\\rd/ü%"


@pytest.mark.parametrize(
    "shown",
    [
        f"password={SECRET}",
        repr({"password": SECRET}),
        ascii([SECRET]),
        json.dumps({"password": SECRET}),
        json.dumps(SECRET, ensure_ascii=False),
        f"postgresql://maas:{quote(SECRET, safe='')}@db/maasdb",
        f"postgresql://maas:{quote(SECRET)}@db/maasdb",
        urlencode({"password": SECRET}),
        quote_plus(SECRET),
        f"{SECRET}{SECRET}",
    ],
)
def test_every_form_is_hidden(shown: str) -> None:
    mine = Masks([SECRET])
    assert mine.found_in(shown)
    hidden = mine.hide(shown)
    assert HIDDEN in hidden
    for part in ("s3cret", "rd/", "rd%2F", "%C3%BC"):
        assert part not in hidden


def test_what_a_shell_quotes_is_hidden() -> None:
    assert Masks(["it's a secret"]).hide("sh -c 'login '\"'\"'x'; echo 'it'\"'\"'s a secret'").endswith(f"'{HIDDEN}'")


def test_a_secret_within_another_leaves_nothing_of_either() -> None:
    assert Masks(["secret", "secret-and-more"]).hide("secret-and-more secret") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("value", ["", "a", "maas", "x" * (SHORTEST - 1)])
def test_short_values_do_not_turn_the_log_into_stars(value: str) -> None:
    line = "a maas xxxxx line"
    assert not Masks([value]).found_in(line)
    assert Masks([value]).hide(line) == line


def test_the_lines_of_a_key_are_hidden_and_its_first_and_last_are_not() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    mine = Masks([key])
    assert mine.hide("got MIIEvQIBADANBgkq") == f"got {HIDDEN}"
    assert mine.hide("no -----BEGIN PRIVATE KEY-----") == "no -----BEGIN PRIVATE KEY-----"


def test_both_files_are_read_and_either_may_be_missing_or_broken(tmp_path: Path) -> None:
    values, shared = tmp_path / "masks.json", tmp_path / "secret"
    assert not masks.read(str(values), str(shared)).found_in("anything at all")
    values.write_text('["first-secret"]')
    shared.write_text("ab" * 16 + "\n")
    mine = masks.read(str(values), str(shared))
    assert mine.hide(f"first-secret {'ab' * 16}") == f"{HIDDEN} {HIDDEN}"
    values.write_text("{")
    assert masks.read(str(values), str(shared)).hide("ab" * 16) == HIDDEN


lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=SHORTEST, max_size=40)


@given(lines.filter(lambda value: not value.startswith("-----") and HIDDEN not in value), st.text(max_size=40))
def test_no_value_survives(value: str, around: str) -> None:
    hidden = Masks([value]).hide(f"{around}{value}{around}")
    assert value not in hidden or value in HIDDEN * 3
