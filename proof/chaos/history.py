"""A history: what was said to a system and what readers saw, as JSON Lines.

One object a line, told apart by `kind`; `headrace check` reads a file of them. Times
are milliseconds since 1970. A position is topic, partition and offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

Outcome = Literal["acknowledged", "unknown", "aborted"]
Isolation = Literal["committed", "uncommitted"]
Verdict = Literal["", "result", "dead-letter"]


class Run(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """What was run."""

    seed: int
    minutes: float
    subject: str


class Stage(msgspec.Struct, frozen=True, tag="stage", tag_field="kind"):
    """Each record on the topic `source` is owed answers; they carry the stage's name."""

    name: str
    source: str


class Sent(msgspec.Struct, frozen=True, tag="sent", tag_field="kind", omit_defaults=True):
    """A record as its publisher knows it; only an acknowledged one has a position."""

    topic: str
    id: str
    key: str
    outcome: Outcome
    at: int
    partition: int = -1
    offset: int = -1


class Source(msgspec.Struct, frozen=True, array_like=True):
    """The record that a record answers, and for which of the answers owed."""

    topic: str
    partition: int
    offset: int
    index: int | None = 0
    """None: for all of them, as a dead letter of the whole record does."""


class Seen(msgspec.Struct, frozen=True, tag="seen", tag_field="kind", omit_defaults=True):
    """A record as one reader saw it.

    `final` marks the readers that read everything once, from the start, when all was
    quiet; the others read along during the faults.
    """

    reader: str
    isolation: Isolation
    final: bool
    topic: str
    partition: int
    offset: int
    id: str
    key: str
    at: int
    owed: int = 1
    """On a source topic: how many answers this record is owed."""
    wanted: Verdict = ""
    """On a source topic: what its answers have to be, where that is known."""
    stage: str = ""
    """On an answer: the stage that it belongs to."""
    verdict: Verdict = ""
    source: Source | None = None
    task: str = ""
    version: str = ""
    """Model version that gave the answer."""
    body: msgspec.Raw = msgspec.Raw(b"")

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.topic, self.partition, self.offset

    def __str__(self) -> str:
        return f"{self.id} at {self.topic}:{self.partition}:{self.offset}"


class Announced(msgspec.Struct, frozen=True, tag="announced", tag_field="kind"):
    """A model version that became live, in the order of the registry."""

    task: str
    version: str


class Ends(msgspec.Struct, frozen=True, tag="ends", tag_field="kind"):
    """Ends of a partition when all was quiet: last stable offset, and high watermark."""

    topic: str
    partition: int
    committed: int
    uncommitted: int


class Behind(msgspec.Struct, frozen=True, tag="behind", tag_field="kind"):
    """A consumer group that had not come to rest when the run ended."""

    group: str
    topic: str
    partition: int
    committed: int
    lag: int


class Fault(msgspec.Struct, frozen=True, tag="fault", tag_field="kind", omit_defaults=True):
    """A fault as it was injected."""

    number: int
    name: str
    target: str
    began: int
    ended: int
    watched: str = ""
    """Topic whose records tell that the target works again."""
    detail: str = ""


Entry = Run | Stage | Sent | Seen | Announced | Ends | Behind | Fault
_DECODER: Final = msgspec.json.Decoder(Entry)
_ENCODER: Final = msgspec.json.Encoder()


class HistoryError(Exception):
    """A file that is no history; the message names the line."""


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a history."""
    with path.open("wb") as file:
        for entry in entries:
            file.write(_ENCODER.encode(entry) + b"\n")


def read(path: Path) -> Iterator[Entry]:
    """The entries of a file.

    Raises:
        HistoryError: a line is not an entry of a history.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield _DECODER.decode(line)
                except msgspec.DecodeError as error:
                    raise HistoryError(f"{path}, line {number}: {error}") from error
