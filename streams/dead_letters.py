"""Dead letters: finding them, and putting the original back on its topic once.

A replay is one transaction under a transactional id of its own. Beginning it ends and
fences every other replay; only then is the source topic read for the header that
replays carry. So two replays at the same time, or one that is killed, put a record
back at most once. The limit: where the topic no longer keeps the replayed record
(retention), it can be replayed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from schemas import envelope
from schemas.envelope import Position
from schemas.events import DeadLetter
from schemas.topics import DEAD_LETTERS
from streams import cluster, reading
from streams.settings import Settings

HEADER_REPLAY_OF: Final = "headrace-replay-of"
_TRANSACTIONAL_ID: Final = "headrace.dead-letters.replay"

Outcome = Literal["replayed", "replayed before", "not kept"]
"""`not kept`: the original was too large for a dead letter to hold; it lies at its position."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, and where it lies itself."""

    letter: DeadLetter
    at: Position


async def find(
    settings: Settings,
    *,
    ids: Sequence[str] = (),
    error_class: str | None = None,
    key: str | None = None,
    topic: str | None = None,
    limit: int | None = None,
) -> AsyncIterator[Found]:
    """Dead letters in topic order; `ids`, class, key and source topic narrow them down."""

    def chosen(letter: DeadLetter) -> bool:
        return (
            (not ids or letter.id in ids)
            and (error_class is None or letter.error_class == error_class)
            and (key is None or letter.source.key == key.encode())
            and (topic is None or letter.source.topic == topic)
        )

    given = 0
    async for record in reading.read(settings, [DEAD_LETTERS.name]):
        at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
        letter = envelope.decode(DeadLetter, record.value, record.headers, at)
        if chosen(letter):
            yield Found(letter=letter, at=at)
            given += 1
            if limit is not None and given >= limit:
                return


async def replay(settings: Settings, found: Sequence[Found]) -> dict[str, Outcome]:
    """Put the originals back, each once; what became of each dead letter by its id.

    The record goes to the partition it came from, with its key, value and headers and
    a header `headrace-replay-of` that names the dead letter.

    Raises:
        KafkaError: nothing was put back; run it again.
    """
    producer = cluster.producer(settings, transactional_id=_TRANSACTIONAL_ID)
    await producer.start()
    try:
        done = await _replayed(settings, found)
        letters = {one.letter.id: one.letter for one in found}
        new = [
            letter
            for letter in letters.values()
            if letter.id not in done and letter.source.value is not None
        ]
        if new:
            async with producer.transaction():
                deliveries = [
                    await producer.send(
                        letter.source.topic,
                        letter.source.value,
                        letter.source.key,
                        partition=letter.source.partition,
                        headers=[*letter.source.headers, (HEADER_REPLAY_OF, letter.id.encode())],
                    )
                    for letter in new
                ]
                # aiokafka commits although a send has failed: each must be seen to succeed.
                await asyncio.gather(*deliveries)
        outcome: dict[str, Outcome] = dict.fromkeys(letters, "not kept")
        outcome |= dict.fromkeys(done, "replayed before")
        outcome |= dict.fromkeys((letter.id for letter in new), "replayed")
        return outcome
    finally:
        await producer.stop()


async def _replayed(settings: Settings, found: Sequence[Found]) -> set[str]:
    """Ids among `found` that a replay has put back, as far as their topics still tell."""
    done = set()
    for topic in {one.letter.source.topic for one in found}:
        here = [one for one in found if one.letter.source.topic == topic]
        since = min(one.at.timestamp_ms for one in here)
        wanted = {one.letter.id for one in here}
        start = datetime.fromtimestamp(since / 1000, UTC)
        async for record in reading.read(settings, [topic], start=start):
            name = record.header(HEADER_REPLAY_OF)
            if name in wanted:
                done.add(name)
    return done
