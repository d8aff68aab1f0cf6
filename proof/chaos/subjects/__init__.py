"""Small services that copy `chaos.in` to `chaos.out`: one that is right, five that are not.

The broken ones are wirings that look right, that people run, and that the suite has
to catch; a checker that never fails proves nothing. Each is a process
(`python -m proof.chaos.subjects NAME`) that reads its settings from HEADRACE_*
variables and does the same trivial work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IN: Final = "chaos.in"
OUT: Final = "chaos.out"
SERVICE: Final = "chaos"
"""Its consumer group is `schemas.ids.group_id` of this."""
WORK_S: Final = 0.02
"""What the work on a batch takes: long enough for batches to be in hand when a fault comes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A wiring, and the anomalies that it has to be convicted of."""

    name: str
    about: str
    shows: frozenset[str]
    """Kinds of anomalies of which at least one is expected; empty: it is right."""


def _subject(name: str, about: str, *shows: str) -> Subject:
    return Subject(name, about, frozenset(shows))


SUBJECTS: Final = {
    subject.name: subject
    for subject in (
        _subject("lanes", "streams.lanes, as kernel and relay use them"),
        _subject(
            "shared-consumer",
            "one group consumer with a transactional producer per partition; what was fetched "
            "before a producer was fenced is committed through the reopened one",
            "duplicate",
        ),
        _subject(
            "shared-consumer-discarding",
            "the same, but what was fetched is dropped when the producer is reopened, although "
            "the consumer's position is past it",
            "lost",
            "stalled",  # lost as well, but nothing came after it that would have moved the offset
            "duplicate",  # a new owner reads the offset before the former one is fenced
        ),
        _subject(
            "at-least-once",
            "results are delivered first, offsets committed later, no transactions",
            "duplicate",
        ),
        _subject(
            "faust-concurrency-2",
            "stock Faust with concurrency=2: what is acknowledged out of order is committed past "
            "what is still in work; and it reads what was aborted",
            "lost",
            "aborted-read",
        ),
        _subject(
            "faust-exactly-once",
            "stock Faust with processing_guarantee='exactly_once'",
            "lost",
            "duplicate",
            "aborted-read",
        ),
    )
}
