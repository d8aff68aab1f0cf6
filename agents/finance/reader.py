"""finance.reader: from a feed event to one question to the kernel per company.

Rules, each documented in docs/finance.md: an event that names no company asks
nothing; a ticker that no table knows is asked about under itself; an event whose
id was seen within the window of its partition is a dead letter.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from agents.finance.entities import STARTER, Entities
from agents.runtime import Agent, Context, Emit
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import FeedEvent, KernelRequest
from schemas.limits import MAX_TEXT_CHARACTERS
from schemas.tasks import SENTIMENT
from schemas.topics import FEED_EVENTS, REQUESTS, Topic
from streams.settings import Settings

log = logging.getLogger(__name__)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_AHEAD: Final = timedelta(hours=24)
"""Wide enough for a clock in the wrong time zone; more is a wrong date."""
BUCKETS: Final = 1_024
REMEMBERED: Final = 32
"""Ids kept per bucket: the window is about BUCKETS * REMEMBERED events a partition."""


class Reader(Agent[FeedEvent, list[int]]):
    """Finds the targets of each text and asks the kernel about every one."""

    name: ClassVar[str] = "finance.reader"
    source: ClassVar[Topic] = FEED_EVENTS
    emits_to: ClassVar[tuple[Topic, ...]] = (REQUESTS["standard"],)

    def __init__(self, entities: Entities) -> None:
        self._entities = entities
        self.without_target = 0

    @classmethod
    def create(cls, settings: Settings) -> Reader:
        """With the entity table of the settings, else the starter's."""
        path: Path | None = settings.entities
        return cls(Entities.load(path or STARTER))

    @property
    def state_type(self) -> type[list[int]]:
        """Hashes of the last ids of a bucket."""
        return list[int]

    def thread(self, event: FeedEvent, context: Context) -> str:  # noqa: ARG002
        """The bucket of the event's id."""
        return str(zlib.crc32(event.id.encode()) % BUCKETS)

    def process(
        self, event: FeedEvent, state: list[int] | None, context: Context
    ) -> tuple[list[int] | None, list[Emit]]:
        """One request per target."""
        _check_text(event.text)
        published = _event_time(event, context)
        mark = int.from_bytes(
            hashlib.blake2b(event.id.encode(), digest_size=8).digest(), signed=True
        )
        seen = state or []
        if mark in seen:
            raise Unanswerable(ErrorClass.DUPLICATE_ID, f"the id {event.id!r} was seen before")
        targets = self._entities.find(event.text, event.tickers)
        if not targets:
            self.without_target += 1
            log.debug("no company in %s; %d so far", event.id, self.without_target)
        emits = [
            Emit(
                REQUESTS["standard"],
                target.ticker,
                KernelRequest(
                    id=context.emission_id(index),
                    task=SENTIMENT.name,
                    text=event.text,
                    thread=target.ticker,
                    target=target.words,
                    published_at=published,
                    cause=context.cause(index),
                ),
            )
            for index, target in enumerate(targets)
        ]
        return [*seen[1 - REMEMBERED :], mark], emits


def _check_text(text: str) -> None:
    if not text.strip():
        raise Unanswerable(ErrorClass.EMPTY_TEXT, "the text is empty or blank")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise Unanswerable(
            ErrorClass.TEXT_TOO_LONG, f"{len(text)} characters; at most {MAX_TEXT_CHARACTERS}"
        )


def _event_time(event: FeedEvent, context: Context) -> datetime:
    recorded = context.position.time
    published = event.published_at or recorded
    if published < EPOCH:
        raise Unanswerable(ErrorClass.BAD_TIME, f"published_at {published} is before 1970")
    if published - recorded > MAX_AHEAD:
        raise Unanswerable(
            ErrorClass.BAD_TIME,
            f"published_at {published} is more than a day after the record's time {recorded}",
        )
    return published
