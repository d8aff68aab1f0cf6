"""Labelled rows from files: CSV for labels and pairs, CoNLL for tags."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.tasks import Task
from trainer.dataset import Row
from trainer.errors import TrainerError
from trainer.tasks import OUTSIDE

_DOCUMENT: Final = "-DOCSTART-"


def read(path: Path, task: Task) -> list[Row]:
    """The rows of a file: CoNLL where the task gives tags, else CSV.

    Raises:
        TrainerError: the file cannot be read or lacks a column.
    """
    return read_conll(path) if task.answer == "tags" else read_csv(path, task)


def read_csv(path: Path, task: Task) -> list[Row]:
    """Rows of a CSV with the columns `text`, `label` and, for pairs, `target`.

    Raises:
        TrainerError: the file cannot be read or lacks a column.
    """
    needed = {"text"} if task.answer == "vector" else {"text", "label"}
    needed |= {"target"} if task.inputs == "pair" else set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = needed - set(reader.fieldnames or ())
            if missing:
                raise TrainerError(
                    f"{path} lacks the column {', '.join(sorted(missing))}: a {task.name} file "
                    f"has {', '.join(sorted(needed))}"
                )
            return [
                Row(
                    id=f"{path.name}:{reader.line_num}",
                    text=(fields["text"] or "").strip(),
                    target=fields["target"] or None if task.inputs == "pair" else None,
                    label=(fields.get("label") or "").strip(),
                    source=fields.get("source") or "",
                )
                for fields in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{path} cannot be read as CSV in UTF-8: {error}") from error


def read_conll(path: Path) -> list[Row]:
    """Rows of a CoNLL file: a word a line, its tag in the last column, an empty line between.

    The text of a row is its words with a space between. IOB1 tags become BIO.

    Raises:
        TrainerError: the file cannot be read, or a line has no tag.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path} cannot be read as CoNLL in UTF-8: {error}") from error
    rows: list[Row] = []
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        columns = line.split()
        if columns and columns[0] != _DOCUMENT:
            if len(columns) < 2 or not _is_tag(columns[-1]):
                raise TrainerError(
                    f"{path}:{number}: a line of a CoNLL file is a word, other columns if any, "
                    f"and a tag (O, B-X or I-X), not {line!r}"
                )
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            name = f"{path.name}:{number - len(words)}"
            text, bio = " ".join(words), tuple(to_bio(tags))
            rows.append(Row(name, text, None, "", tags=bio))
            words, tags = [], []
    return rows


def to_bio(tags: list[str]) -> Iterator[str]:
    """The tags with a B- at each entity's first word; IOB1 has it only between neighbours."""
    before = OUTSIDE
    for tag in tags:
        begins = tag.startswith("I-") and before[2:] != tag[2:]
        yield f"B-{tag[2:]}" if begins else tag
        before = tag


def read_texts(path: Path) -> list[str]:
    """Unlabelled texts: a line each, or the `text` column of a CSV; `.gz` is opened.

    Raises:
        TrainerError: the file cannot be read, or is a CSV without that column.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            if ".csv" not in path.suffixes:
                return [line.strip() for line in file if line.strip()]
            reader = csv.DictReader(file)
            if "text" not in (reader.fieldnames or ()):
                raise TrainerError(f"{path} lacks the column text: unlabelled texts lie there")
            return [text for row in reader if (text := (row["text"] or "").strip())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{path} cannot be read as texts in UTF-8: {error}") from error


def _is_tag(text: str) -> bool:
    return text == OUTSIDE or (text[:2] in {"B-", "I-"} and len(text) > 2)
