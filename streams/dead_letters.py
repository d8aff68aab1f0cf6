"""Dead letters: finding them, and putting the original back on its topic once.

A replay runs in transactions under one transactional id. Beginning it ends and fences
every other replay; only then are the marks read that say what was put back. A mark is
written in the transaction that puts the original back, and kept longer than the dead
letter. So a replay that is killed, given again, or run twice at once puts each back once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from aiokafka import AIOKafkaProducer

from schemas import envelope
from schemas.envelope import Position
from schemas.events import DeadLetter, Replayed, SourceRecord
from schemas.topics import DEAD_LETTERS, REPLAYS
from streams import cluster, reading
from streams.closing import close
from streams.dead_letter import HEADER_REPLAY_OF
from streams.message import Message
from streams.settings import Settings

_SERVICE: Final = "console"
_TRANSACTIONAL_ID: Final = "headrace.dead-letters.replay"
_IN_ONE_TRANSACTION: Final = 500
"""Few enough to be delivered well within a transaction's time-out."""

_Place = tuple[str, int, int]
Outcome = Literal["replayed", "replayed before", "not kept"]
"""`not kept`: too large for its dead letter to hold, and gone from its topic (retention)."""


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


async def replays(settings: Settings) -> dict[str, datetime]:
    """When the original of each dead letter was put back, by the dead letter's id."""
    done: dict[str, datetime] = {}
    async for record in reading.read(settings, [REPLAYS.name]):
        at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
        mark = envelope.decode(Replayed, record.value, record.headers, at)
        done[mark.id] = mark.replayed_at
    return done


async def replay(settings: Settings, found: Sequence[Found]) -> dict[str, Outcome]:
    """Put the originals back, each once; what became of each dead letter by its id.

    The record goes to the partition it came from, with its key, value and headers and
    a header `headrace-replay-of` that names the dead letter. Originals of one partition
    go back in the order in which they lay there.

    Raises:
        KafkaError: some were put back perhaps, and marked; run it again for the others.
    """
    letters = {one.letter.id: one.letter for one in found}
    producer = cluster.producer(
        settings,
        transactional_id=_TRANSACTIONAL_ID,
        transaction_timeout_ms=settings.transaction_timeout_ms,
    )
    await producer.start()
    try:
        done = await replays(settings)
        outcome: dict[str, Outcome] = dict.fromkeys(letters, "not kept")
        outcome |= {name: "replayed before" for name in letters if name in done}
        new = [letter for name, letter in letters.items() if name not in done]
        new.sort(key=lambda one: _place(one.source))
        originals = await _originals(settings, [letter.source for letter in new])
        kept = [letter for letter in new if _place(letter.source) in originals]
        for begin in range(0, len(kept), _IN_ONE_TRANSACTION):
            batch = kept[begin : begin + _IN_ONE_TRANSACTION]
            await _put_back(producer, batch, originals)
            outcome |= {letter.id: "replayed" for letter in batch}
        return outcome
    finally:
        await close(producer)


async def _put_back(
    producer: AIOKafkaProducer, letters: Sequence[DeadLetter], originals: dict[_Place, SourceRecord]
) -> None:
    """The originals and the marks of their letters, in one transaction."""
    now = datetime.now(UTC)
    async with producer.transaction():
        deliveries = []
        for letter in letters:
            source = originals[_place(letter.source)]
            put_back = await producer.send(
                source.topic,
                source.value,
                source.key,
                partition=source.partition,
                headers=[*source.headers, (HEADER_REPLAY_OF, letter.id.encode())],
            )
            mark = Replayed(
                id=letter.id, topic=source.topic, partition=source.partition, replayed_at=now
            )
            message = Message.of(REPLAYS, letter.id.encode(), mark, _SERVICE)
            deliveries += [put_back, await message.send(producer)]
        # aiokafka commits although a send has failed: each must be seen to succeed.
        await asyncio.gather(*deliveries)


async def _originals(
    settings: Settings, sources: Sequence[SourceRecord]
) -> dict[_Place, SourceRecord]:
    """The records as they stood, by place; those that no letter holds whole from their topics."""
    found = {_place(one): one for one in sources if one.whole}
    wanted = [_place(one) for one in sources if not one.whole]
    for record in await reading.at(settings, wanted):
        source = SourceRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )
        found[_place(source)] = source
    return found


def _place(source: SourceRecord) -> _Place:
    return source.topic, source.partition, source.offset
