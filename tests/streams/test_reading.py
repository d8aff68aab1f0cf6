"""A reader sees what was committed, all of it, in order, from where it was told to begin."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import orjson
import pytest

from schemas.topics import FEED_EVENTS, LABELS
from streams import cluster as clients
from streams.message import Message
from streams.publishing import publisher
from streams.reading import Record, UnknownTopicError, as_line, parse_start, read
from streams.settings import Settings


async def keys(settings: Settings, topic: str) -> list[bytes | None]:
    return [record.key async for record in read(settings, [topic])]


async def test_records_of_an_aborted_transaction_are_never_read(cluster: Settings) -> None:
    producer = clients.producer(cluster, transactional_id="test.reading")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send(LABELS.name, b"1", b"kept", partition=0)
        await producer.begin_transaction()
        await (await producer.send(LABELS.name, b"2", b"taken back", partition=0))
        await producer.abort_transaction()
        # The end of the partition is now a marker: reading until the end still ends.
        assert await asyncio.wait_for(keys(cluster, LABELS.name), 20) == [b"kept"]
        await producer.begin_transaction()
        await (await producer.send(LABELS.name, b"3", b"open", partition=0))
        assert await asyncio.wait_for(keys(cluster, LABELS.name), 20) == [b"kept"]
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_what_is_published_is_read_in_order_and_all_of_it(cluster: Settings) -> None:
    before = datetime.now(UTC)
    count = 10_000
    async with publisher(cluster) as sender:
        for number in range(count):
            body = orjson.dumps(number)
            await sender.send(Message(FEED_EVENTS.name, b"k%d" % (number % 7), body, []))
    assert sender.acknowledged == count

    found: dict[bytes | None, list[int]] = {}
    async for record in read(cluster, [FEED_EVENTS.name], start=before):
        found.setdefault(record.key, []).append(record.json())
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(count))
    assert all(numbers == sorted(numbers) for numbers in found.values())


async def test_a_topic_that_is_not_there_is_named_and_not_made(cluster: Settings) -> None:
    for _ in range(2):
        with pytest.raises(UnknownTopicError, match=r"no topic feed\.event; see"):
            await keys(cluster, "feed.event")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("17", 17),
        ("2026-03-02T07:00:00Z", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
    ],
)
def test_a_start_is_an_end_an_offset_or_a_time(text: str, start: object) -> None:
    assert parse_start(text) == start


def test_a_line_holds_any_bytes_without_loss() -> None:
    record = Record("t", 1, 2, 1_000, b"\xff", b"\x00\xff", (("h", b"\xfe"), ("n", None)))
    line = orjson.loads(orjson.dumps(as_line(record)))
    assert line["encoding"] == "base64"
    assert base64.b64decode(line["value"]) == b"\x00\xff"
    assert base64.b64decode(line["key"]["base64"]) == b"\xff"
    assert base64.b64decode(line["headers"]["h"]["base64"]) == b"\xfe"
    assert line["headers"]["n"] is None
    assert line["timestamp"] == "1970-01-01T00:00:01.000+00:00"
    tombstone = as_line(Record("t", 0, 0, 0, None, None, ()))
    assert (tombstone["key"], tombstone["value"], tombstone["encoding"]) == (None, None, None)
