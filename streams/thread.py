"""A thread: everything on any topic that carries one key, and the feed events behind it."""

from __future__ import annotations

from typing import Final

from schemas.topics import (
    ALERT_STATES,
    AUDIT,
    CATALOGUE,
    DELIVERIES,
    FEED_EVENTS,
    MODELS,
    OUTBOX,
    RESCORED,
    SHADOW,
)
from streams.reading import Record, partitions, read
from streams.settings import Settings

# The outbox holds replays too; what it carries stands on its own topic once. What was rescored
# answered nobody.
_LEFT_OUT: Final = {
    OUTBOX.name,
    RESCORED.name,
    SHADOW.name,
    MODELS.name,
    ALERT_STATES.name,
    DELIVERIES.name,
    AUDIT.name,
}
_STEP: Final = {name: step for step, name in enumerate(CATALOGUE)}


async def thread(settings: Settings, key: str) -> list[Record]:
    """Records that carry `key`, and the feed events that caused them, by time.

    Records of the same millisecond stand in the order of the catalogue: event, request,
    result, trend, alert, dead letter. Labels are found by the target that they name.

    Raises:
        UnknownTopicError: the cluster lacks a topic of the catalogue.
    """
    topics = [name for name in CATALOGUE if name not in _LEFT_OUT]
    await partitions(settings, topics)
    wanted = key.encode()
    causes: set[tuple[str, int, int]] = set()
    found: dict[tuple[str, int, int], Record] = {}
    feed: dict[tuple[str, int, int], Record] = {}
    async for record in read(settings, topics):
        place = (record.topic, record.partition, record.offset)
        if record.key == wanted:
            found[place] = record
            causes |= _causes(record)
        elif record.topic == FEED_EVENTS.name:
            feed[place] = record
    found |= {place: feed[place] for place in causes & feed.keys()}
    return sorted(found.values(), key=lambda one: (one.timestamp_ms, _STEP[one.topic], one.offset))


def _causes(record: Record) -> set[tuple[str, int, int]]:
    """The source position that a record names, if it does: `[agent, topic, partition, ...]`."""
    body = record.json()
    cause = body.get("cause") if isinstance(body, dict) else None
    if isinstance(cause, list) and len(cause) == 5:
        _, topic, partition, offset, _ = cause
        return {(str(topic), int(partition), int(offset))}
    return set()
