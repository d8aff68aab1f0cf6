"""Labels from which nothing can be learned are refused by name, before any training begins."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from schemas.envelope import encode
from schemas.events import LabelledExample
from schemas.tasks import SENTIMENT
from tests.support.command import headrace
from tests.support.easy_labels import easy_rows
from trainer import conflicts, dataset
from trainer.dataset import Row

EASY = [(row.text, row.target or "", row.label) for row in easy_rows()]


def train(folder: Path, rows: list[tuple[str, str, str]]) -> tuple[int, str]:
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "target", "label"])
        writer.writerows(rows)
    done = headrace("train", "--data", str(path), "--out", str(folder / "model"))
    assert not (folder / "model").exists()
    return done.code, done.err


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [row for row in EASY if row[2] == "positive"],
            "4 more of 'negative', 4 more of 'neutral'",
        ),
        ([row for row in EASY if row[2] != "neutral"], "publish 4 more of 'neutral'"),
        ([(text, target, "great") for text, target, _ in EASY], "72 rows were dropped"),
        ([("", "X", "positive")] * 30, "30 rows were dropped"),
        ([EASY[0]] * 400, "399 were repeats"),
        ([], "4 more of 'negative', 4 more of 'neutral', 4 more of 'positive'"),
    ],
    ids=["one class", "a class missing", "outside the task", "empty", "all duplicates", "none"],
)
def test_it_is_said_what_is_missing(
    tmp_path: Path, rows: list[tuple[str, str, str]], says: str
) -> None:
    code, error = train(tmp_path, rows)
    assert code == 8
    assert says in error
    assert "too few labels for sentiment" in error


def test_labels_outside_the_task_cost_no_others() -> None:
    rows = [*easy_rows(), Row("odd", "Kelmont sings", "Kelmont", "furious")]
    made = dataset.build(rows, SENTIMENT, 0.25)
    assert made.dropped == ["odd: 'furious' is not a label of sentiment"]
    assert len(made.train) + len(made.held_back) == 72


def test_where_all_contradict_each_other_the_majority_is_learned_and_counted() -> None:
    wrong = {"positive": "negative", "negative": "neutral", "neutral": "positive"}
    rows = easy_rows()
    votes = [Row(f"{row.id}-{n}", row.text, row.target, row.label) for row in rows for n in (1, 2)]
    votes += [Row(f"{row.id}-3", row.text, row.target, wrong[row.label]) for row in rows]
    made = dataset.build(votes, SENTIMENT, 0.25)
    right = {row.text: row.label for row in rows}
    assert made.conflicts == 72
    assert all(row.label == right[row.text] for row in [*made.train, *made.held_back])


class Said:
    """A record of the labels topic."""

    topic = "labels.examples"
    partition = 0

    def __init__(self, offset: int, key: str, label: str | None, labeller: str = "ann") -> None:
        self.offset, self.timestamp, self.key = offset, 1_700_000_000_000 + offset, key.encode()
        self.value: bytes | None = None
        self.headers: list[tuple[str, bytes]] = []
        if label is not None:
            example = LabelledExample(
                id=key, task="sentiment", text="one text", label=label, labeller=labeller
            )
            self.value, self.headers = encode(example, "test")


def test_contradictions_are_reported_until_they_are_withdrawn() -> None:
    said = [Said(0, "a", "positive"), Said(1, "b", "negative", "bob"), Said(2, "b", "neutral")]
    (found,) = conflicts.find(said)
    assert found.holds == "neutral"  # a tie goes to the latest
    assert ("b", "neutral", "ann") in found.said
    assert conflicts.find([*said, Said(3, "b", None)]) == []
