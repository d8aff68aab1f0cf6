"""Datasets: labelled rows, made clean by stated rules, and split so that nothing leaks.

The rules, in this order:

1. A row with an empty text, or a label that the task does not have, is dropped and named.
2. Of the rows with one id the latest counts; a withdrawal takes the id away.
3. Rows that say the same of the same text and target count once.
4. Where rows contradict each other about the same text and target, the label given most
   often holds, and on a tie the latest one.
5. All rows of one text (whatever its case, spacing and punctuation) lie on the same side.
   The side is a function of the text alone, so a text once held back is held back for
   every later version: versions can be compared on rows that neither was trained on.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.tasks import Task
from trainer.errors import DataError

MIN_PER_LABEL: Final = 4
"""Training rows that each label needs: below this a fine-tune learns nothing of it."""
_NOT_WORD: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Row:
    """A text, what is asked about, and the right label."""

    id: str
    text: str
    target: str | None
    label: str
    source: str = ""
    """Who or what said it: the labeller on the topic, the column `source` of a file."""
    tags: tuple[str, ...] = ()
    """BIO tag of each word, where the task gives tags; `label` is then empty."""

    @property
    def words(self) -> list[str]:
        """The words that tags are of: what stands between single spaces."""
        return self.text.split(" ")

    @property
    def answer(self) -> str | tuple[str, ...]:
        """The right answer."""
        return self.tags or self.label

    @property
    def said(self) -> tuple[str, ...]:
        """Each decision of the answer: the label, or every word's tag."""
        return self.tags or (self.label,)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to learn from, rows to judge by, and what was left out."""

    train: list[Row]
    held_back: list[Row]
    dropped: list[str]
    """One sentence for each row that could not be used."""
    duplicates: int
    conflicts: int
    """Pairs of text and target about which rows contradicted each other."""


def latest(rows: Iterable[tuple[str, Row | None]]) -> list[Row]:
    """Rule 2: of `(id, row)` in the order they were said, the last; None withdraws."""
    found: dict[str, Row] = {}
    for key, row in rows:
        found.pop(key, None)
        if row is not None:
            found[key] = row
    return list(found.values())


def usable(rows: Iterable[Row], task: Task) -> tuple[list[Row], list[str]]:
    """Rule 1: the rows that can be used, and a sentence for each that cannot."""
    good, dropped = [], []
    for row in rows:
        if not row.text.strip():
            dropped.append(f"{row.id}: the text is empty")
        elif unknown := _unknown(row, task):
            dropped.append(f"{row.id}: {unknown}")
        else:
            good.append(row)
    return good, dropped


def _unknown(row: Row, task: Task) -> str:
    """What the row says that the task does not have; empty where all is well."""
    if task.answer == "vector":
        return "" if row.target else "there is no target: the text that is near it"
    if task.answer == "label":
        return "" if row.label in task.labels else f"{row.label!r} is not a label of {task.name}"
    if len(row.tags) != len(row.words):
        return f"{len(row.tags)} tags for {len(row.words)} words"
    strange = sorted(set(row.tags) - set(task.labels))
    return f"{', '.join(strange)} is no tag of {task.name}" if strange else ""


def settle(rows: Sequence[Row]) -> tuple[list[Row], int, int]:
    """Rules 3 and 4: rows without repeats, how many repeats, how many conflicts."""
    said: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        said.setdefault((row.text, row.target), []).append(row)
    settled = []
    conflicts = 0
    for same in said.values():
        votes = Counter(row.answer for row in reversed(same))  # ties go to the first counted
        answer, _ = votes.most_common(1)[0]
        conflicts += len(votes) > 1
        settled.append(next(row for row in reversed(same) if row.answer == answer))
    return settled, len(rows) - len(settled), conflicts


def clean(rows: Iterable[Row], task: Task) -> list[Row]:
    """Rules 1, 3 and 4: the rows that can be used, without repeats and contradictions."""
    return settle(usable(rows, task)[0])[0]


def is_held_back(text: str, share: float) -> bool:
    """Rule 5: whether a text belongs to the held-back side."""
    digest = hashlib.sha256(_plain(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _plain(text: str) -> str:
    """The text without case, spacing and punctuation: what makes two texts the same one."""
    return _NOT_WORD.sub(" ", text.casefold()).strip()


def build(rows: Iterable[Row], task: Task, held_back: float) -> Dataset:
    """A dataset for `task` by the rules above; `held_back` is the share of texts.

    Raises:
        DataError: too few rows to learn from or to judge by.
    """
    good, dropped = usable(rows, task)
    settled, duplicates, conflicts = settle(good)
    train = [row for row in settled if not is_held_back(row.text, held_back)]
    kept = [row for row in settled if is_held_back(row.text, held_back)]
    dataset = Dataset(train, kept, dropped, duplicates, conflicts)
    check_enough(dataset, task)
    return dataset


def check_enough(dataset: Dataset, task: Task) -> None:
    """Refuse a dataset from which nothing could be learned.

    Raises:
        DataError: with the labels that are short, and by how much.
    """
    counts = Counter(said for row in dataset.train for said in row.said)
    wanted = [one for one in task.labels if not one.startswith("I-") or task.answer != "tags"]
    short = {
        label: MIN_PER_LABEL - counts[label] for label in wanted if counts[label] < MIN_PER_LABEL
    }
    if task.answer == "vector" and len(dataset.train) < MIN_PER_LABEL:
        short = {"a pair": MIN_PER_LABEL - len(dataset.train)}
    if short:
        missing = ", ".join(f"{number} more of {label!r}" for label, number in short.items())
        left_out = f"; {len(dataset.dropped)} rows were dropped" if dataset.dropped else ""
        same = f"; {dataset.duplicates} were repeats" if dataset.duplicates else ""
        raise DataError(
            f"too few labels for {task.name}: publish {missing} to labels.examples "
            f"({len(dataset.train)} different rows to learn from{left_out}{same})"
        )
    judged = {said for row in dataset.held_back for said in row.said}
    if len(judged) < 2 and (task.answer != "vector" or len(dataset.held_back) < 2):
        raise DataError(
            f"too few labels for {task.name}: of {len(dataset.train) + len(dataset.held_back)} "
            f"different rows {len(dataset.held_back)} fall to the held-back part, which needs at "
            "least two labels; publish more labelled texts"
        )


def judged_by(rows: Iterable[Row], evaluation: Iterable[Row], task: Task) -> Dataset:
    """A dataset whose held-back side is `evaluation`; its texts are not learned from.

    Raises:
        DataError: too few rows to learn from or to judge by.
    """
    kept, _ = usable(evaluation, task)
    texts = {_plain(row.text) for row in kept}
    good, dropped = usable(rows, task)
    settled, duplicates, conflicts = settle(good)
    train = [row for row in settled if _plain(row.text) not in texts]
    if len(train) < len(settled):
        dropped.append(f"{len(settled) - len(train)} rows: their text is one to judge by")
    dataset = Dataset(train, kept, dropped, duplicates, conflicts)
    check_enough(dataset, task)
    return dataset
