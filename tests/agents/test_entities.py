"""Which companies a text is about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.finance.entities import MAX_TARGETS, STARTER, Entities, Target, normalise

TABLE = Entities(
    [
        ("ALDR", ["Aldermoor Bank", "Aldermoor"]),
        ("MSRW", ["Mistral Row Capital", "Mistral Row"]),
        ("GAP", ["Gap"]),
        ("BRK.B", ["Berk & Sons"]),
    ]
)


def test_given_tickers_settle_what_a_text_is_about() -> None:
    assert TABLE.find("Aldermoor beats $GAP", ["msrw"]) == [Target("MSRW", "Mistral Row Capital")]


def test_a_given_ticker_is_called_what_the_text_calls_it() -> None:
    found = TABLE.find("$GAP up; Aldermoor's rivals down", ["ALDR", "GAP", "NONE"])
    assert found == [Target("ALDR", "Aldermoor"), Target("GAP", "$GAP"), Target("NONE", "NONE")]


def test_an_unknown_ticker_is_its_own_target() -> None:
    assert TABLE.find("flat day", [" $xyz "]) == [Target("XYZ", "XYZ")]
    assert TABLE.find("all eyes on $xyz", ["XYZ"]) == [Target("XYZ", "$xyz")]


def test_cashtags_and_names_are_found_once_each() -> None:
    text = "$BRK.B and $ALDR: Aldermoor Bank, Mistral Row Capital; Mistral Row again."
    assert TABLE.find(text) == [
        Target("BRK.B", "$BRK.B"),
        Target("ALDR", "$ALDR"),
        Target("MSRW", "Mistral Row Capital"),
    ]


@pytest.mark.parametrize(
    "text", ["a gap in the market", "Aldermoors", "mistral row", "costs $5", "US$AAPL9", ""]
)
def test_words_that_only_look_like_a_company_are_not_one(text: str) -> None:
    assert TABLE.find(text) == []


def test_a_possessive_a_full_stop_and_capitals_do_not_hide_a_name() -> None:
    words = [target.words for target in TABLE.find("ALDERMOOR's woes. At Mistral Row.")]
    assert words == ["ALDERMOOR", "Mistral Row"]


def test_tickers_are_normalised_and_limited() -> None:
    assert normalise(["$a", " A ", "", "$", "b"]) == ["A", "B"]
    assert len(TABLE.find("x", [f"T{number}" for number in range(100)])) == MAX_TARGETS


def test_every_starter_company_is_found_by_its_own_name() -> None:
    entities = Entities.load(STARTER)
    rows = [line.split(",") for line in STARTER.read_text().splitlines()[1:]]
    for ticker, name, alias, _ in rows:
        for words in (name, alias):
            assert entities.find(f"Today {words}'s shares moved.") == [Target(ticker, words)]


def test_a_table_without_the_needed_columns_says_so(tmp_path: Path) -> None:
    path = tmp_path / "companies.csv"
    path.write_text("symbol,name\nA,B\n")
    with pytest.raises(ValueError, match="no column ticker"):
        Entities.load(path)


@given(st.text(), st.lists(st.text(max_size=12), max_size=80))
def test_any_text_gives_distinct_targets_and_no_error(text: str, tickers: list[str]) -> None:
    found = [target.ticker for target in TABLE.find(text, tickers)]
    assert len(found) == len(set(found)) <= MAX_TARGETS


def test_a_name_without_a_word_in_it_still_stands_for_its_ticker() -> None:
    table = Entities([("NSTD", ["&"])])
    assert [one.words for one in table.find("nothing of the kind", ["NSTD"])] == ["&"]
