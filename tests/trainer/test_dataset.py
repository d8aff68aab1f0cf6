"""Datasets: the rules by which labelled rows become rows to learn from and rows to judge by."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tasks import SENTIMENT
from tests.support.easy_labels import easy_rows
from trainer import dataset, files
from trainer.dataset import Row
from trainer.errors import DataError, TrainerError


def row(text: str, label: str = "neutral", name: str = "1", target: str | None = "X") -> Row:
    return Row(name, text, target, label)


def test_the_latest_label_of_an_id_holds_and_a_withdrawal_takes_it_away() -> None:
    said = [
        ("a", row("one", "positive", "a")),
        ("b", row("two", "positive", "b")),
        ("a", row("one", "negative", "a")),
        ("b", None),
    ]
    assert dataset.latest(said) == [row("one", "negative", "a")]


def test_contradictions_go_to_the_majority_and_ties_to_the_latest() -> None:
    rows = [row("one", label) for label in ("positive", "negative", "positive")]
    rows += [row("two", "positive"), row("two", "neutral")]
    settled, repeats, conflicts = dataset.settle(rows)
    assert [(one.text, one.label) for one in settled] == [("one", "positive"), ("two", "neutral")]
    assert (repeats, conflicts) == (3, 2)


def test_the_same_text_about_two_targets_is_two_rows() -> None:
    rows = [row("A beats B", "positive", target="A"), row("A beats B", "negative", target="B")]
    assert dataset.settle(rows) == (rows, 0, 0)


@given(st.text(), st.floats(0.01, 0.99))
def test_a_text_stays_on_its_side_whatever_its_case_spacing_and_punctuation(
    text: str, share: float
) -> None:
    side = dataset.is_held_back(text, share)
    for same in (f"  {text} ", f"{text}!", text.casefold(), text.replace(" ", " - ")):
        assert dataset.is_held_back(same, share) is side


def test_nothing_leaks_and_about_the_asked_share_is_held_back() -> None:
    rows = [row(f"text {n}", label) for n in range(500) for label in ("positive", "negative")]
    rows = [Row(str(n), one.text, str(n % 2), one.label) for n, one in enumerate(rows)]
    rows += [row(f"other {n}", "neutral") for n in range(500)]
    made = dataset.build(rows, SENTIMENT, 0.2)
    assert not {one.text for one in made.train} & {one.text for one in made.held_back}
    assert 0.15 < len(made.held_back) / len(rows) < 0.25


def test_unusable_rows_are_dropped_and_named() -> None:
    rows = [*easy_rows(), row("  ", name="empty"), row("fine", "furious", "odd")]
    made = dataset.build(rows, SENTIMENT, 0.25)
    assert made.dropped == [
        "empty: the text is empty",
        "odd: 'furious' is not a label of sentiment",
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "4 more of 'negative', 4 more of 'neutral', 4 more of 'positive'"),
        ([one for one in easy_rows() if one.label == "positive"], "4 more of 'negative'"),
        ([row("the same words", "positive")] * 500, "499 were repeats"),
        ([row("", "positive")] * 20, "20 rows were dropped"),
    ],
    ids=["none", "one class", "all duplicates", "all empty"],
)
def test_too_few_labels_are_refused_with_what_is_missing(rows: list[Row], says: str) -> None:
    with pytest.raises(DataError, match="too few labels") as refused:
        dataset.build(rows, SENTIMENT, 0.25)
    assert says in str(refused.value)


def test_texts_to_judge_by_are_not_learned_from() -> None:
    rows = easy_rows()
    made = dataset.judged_by(rows, rows[::3], SENTIMENT)
    assert not {one.text for one in made.train} & {one.text for one in made.held_back}
    assert len(made.train) == len(rows) - len(rows[::3])


def test_a_csv_without_a_column_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nfine,positive\n")
    with pytest.raises(TrainerError, match="lacks the column target"):
        files.read_csv(path, SENTIMENT)
    with pytest.raises(TrainerError, match="cannot be read"):
        files.read_csv(tmp_path / "none.csv", SENTIMENT)
