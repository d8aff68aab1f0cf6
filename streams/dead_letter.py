"""How a record that cannot be answered becomes a dead letter."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from schemas.errors import Unanswerable
from schemas.events import DeadLetter, SourceRecord
from schemas.ids import dead_letter_id
from schemas.topics import DEAD_LETTERS
from streams.message import Message

HEADRACE_VERSION: Final = version("headrace")


def letter_for(
    record: Any, verdict: Unanswerable, service: str, versions: dict[str, str]
) -> DeadLetter:
    """The dead letter of `record` (anything with a Kafka record's fields), said by `service`."""
    return DeadLetter(
        id=dead_letter_id(record.topic, record.partition, record.offset),
        error_class=verdict.error_class,
        reason=verdict.reason,
        service=service,
        versions={"headrace": HEADRACE_VERSION, **versions},
        source=SourceRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        ),
        failed_at=datetime.now(UTC),
    )


def dead_letter(
    record: Any, verdict: Unanswerable, service: str, versions: dict[str, str]
) -> Message:
    """The same as a message with the original's key."""
    letter = letter_for(record, verdict, service, versions)
    return Message.of(DEAD_LETTERS, record.key, letter, service)
