"""How a record that cannot be answered becomes a dead letter."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import msgspec

from schemas.errors import Unanswerable
from schemas.events import DeadLetter, SourceRecord
from schemas.ids import dead_letter_id, refused_by
from schemas.topics import DEAD_LETTERS
from streams.message import Message
from streams.tracing import RECORD

log = logging.getLogger(__name__)

HEADER_REPLAY_OF: Final = "headrace-replay-of"
"""On an original that was put back: the id of its dead letter."""
_ROOM_FOR_HEADERS: Final = 8_192
"""For the letter's own headers, those of the outbox, and what Kafka adds to a record."""
HEADRACE_VERSION: Final = version("headrace")


def letter_for(
    record: Any, verdict: Unanswerable, service: str, versions: dict[str, str]
) -> DeadLetter:
    """The dead letter of `record` (anything with a Kafka record's fields), said by `service`."""
    return DeadLetter(
        id=dead_letter_id(service, record.topic, record.partition, record.offset),
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
    """The same as a message with the original's key, of a size that the topic takes.

    Almost every record fits with all it has. One whose headers outgrow the topic in JSON
    (thousands of tiny ones, say) loses these, and if that is not enough its key and value:
    the letter then says so, and they lie at the position that it names.
    """
    log.warning("dead letter: %s: %s", verdict.error_class, verdict.reason, extra={RECORD: record})
    letter = letter_for(record, verdict, service, versions)
    message = Message.of(DEAD_LETTERS, record.key, letter, service)
    if not _fits(message):
        kept = msgspec.structs.replace(letter.source, headers=[], whole=False)
        message = Message.of(DEAD_LETTERS, record.key, _without(letter, kept, "headers"), service)
    if not _fits(message):
        kept = msgspec.structs.replace(letter.source, headers=[], key=None, value=None, whole=False)
        message = Message.of(DEAD_LETTERS, None, _without(letter, kept, "content"), service)
    return message


def replayed_for(record: Any) -> str | None:
    """The service that refused the record before it was put back; None where it was not.

    Its cause then lies below the watermark, though nobody has answered it: it is no replay
    by its agent. Services that did answer it the first time pass it over.
    """
    named = [content for name, content in record.headers if name == HEADER_REPLAY_OF]
    return refused_by((named[-1] or b"").decode("utf-8", "replace")) if named else None


def _fits(message: Message) -> bool:
    size = len(message.value or b"") + len(message.key or b"")
    return size + _ROOM_FOR_HEADERS <= DEAD_LETTERS.max_message_bytes


def _without(letter: DeadLetter, kept: SourceRecord, what: str) -> DeadLetter:
    reason = f"{letter.reason} (the record's {what} did not fit: see its position)"
    return msgspec.structs.replace(letter, source=kept, reason=reason)
