"""A feed file as a benchmark sees it: its columns, and the questions that it will cause."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

from agents.finance.entities import STARTER, Entities

TIME_COLUMNS: Final = ("published_at", "created_at", "time", "timestamp", "date")


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed holds: its time column and, in order, the (text, target) of each question."""

    path: Path
    time_column: str
    events: int
    pairs: list[tuple[str, str]]

    def publish_command(self, limit: int | None) -> list[str]:
        """Arguments of `headrace` that publish it as fast as possible."""
        command = ["publish", str(self.path.absolute()), "--time", self.time_column, "--json"]
        return command if limit is None else [*command, "--limit", str(limit)]


def load(path: Path, limit: int | None) -> Feed:
    """Read a CSV feed with the columns `text`, `tickers` (separated by spaces) and a time.

    Raises:
        ValueError: a column is missing.
    """
    entities = Entities.load(STARTER)
    with _opened(path) as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        time_column = next((name for name in TIME_COLUMNS if name in columns), None)
        if "text" not in columns or time_column is None:
            raise ValueError(f"{path}: needs a column text and one of {', '.join(TIME_COLUMNS)}")
        events = 0
        pairs: list[tuple[str, str]] = []
        for row in islice(reader, limit):
            events += 1
            tickers = (row.get("tickers") or "").split()
            pairs += [(row["text"], found.words) for found in entities.find(row["text"], tickers)]
    return Feed(path, time_column, events, pairs)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield file
