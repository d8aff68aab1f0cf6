"""A thread is shown whole and in order; a dead letter is put back once; lag is true."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause, FeedEvent, KernelRequest, KernelResult
from schemas.ids import dead_letter_id, group_id
from schemas.topics import DEAD_LETTERS, FEED_EVENTS, REQUESTS, RESULTS
from streams import cluster as clients
from streams.dead_letter import dead_letter
from streams.dead_letters import find, replay
from streams.lag import lags
from streams.message import Message
from streams.reading import Record
from streams.settings import Settings
from tests.support.command import Console
from tests.support.topics import read_settled, settled

REQUESTS_TOPIC = REQUESTS["standard"]
AT = datetime(2026, 3, 2, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def console(cluster: Settings) -> Console:
    return Console(cluster)


async def say(settings: Settings, *messages: Message) -> list[Record]:
    """Produce in order, in one transaction; the records as they stand."""
    producer = clients.producer(settings, transactional_id="test.say")
    await producer.start()
    try:
        async with producer.transaction():
            sent = [await (await message.send(producer)) for message in messages]
    finally:
        await producer.stop()
    await settled(settings, *{message.topic for message in messages})
    return [
        Record(at.topic, at.partition, at.offset, at.timestamp, one.key, one.value, ())
        for at, one in zip(sent, messages, strict=True)
    ]


def result(thread: str, number: int) -> Message:
    event = KernelResult(
        id=f"result:{thread}:{number}",
        request_id=f"{thread}:{number}",
        task="sentiment",
        thread=thread,
        target=thread,
        label="negative",
        scores={"negative": 0.8, "neutral": 0.1, "positive": 0.1},
        model_version="v1",
        precision="int8",
        excerpt="Bad\x1b[2J news",
        published_at=AT,
    )
    return Message.of(RESULTS, thread.encode(), event, "kernel")


def test_a_thread_is_shown_from_the_feed_event_that_caused_it_to_its_result(
    console: Console, cluster: Settings
) -> None:
    async def story() -> None:
        event = FeedEvent(id="f1", text="Bad news for TTT", tickers=["TTT"], published_at=AT)
        other = FeedEvent(id="f2", text="Nothing to do with it", published_at=AT)
        source, _ = await say(
            cluster,
            Message.of(FEED_EVENTS, b"wire", event, "test"),
            Message.of(FEED_EVENTS, b"wire", other, "test"),
        )
        request = KernelRequest(
            id="r1",
            task="sentiment",
            text="Bad news for TTT",
            thread="TTT",
            cause=Cause("finance.reader", source.topic, source.partition, source.offset, 0),
        )
        await say(cluster, Message.of(REQUESTS_TOPIC, b"TTT", request, "test"))
        await say(cluster, result("TTT", 1), result("UUU", 1))

    asyncio.run(story())
    shown = console("threads", "show", "TTT", "--json")
    assert shown.code == 0
    assert [(line["topic"], line["value"]["id"]) for line in shown.lines()] == [
        ("feed.events", "f1"),
        ("kernel.requests.standard", "r1"),
        ("kernel.results", "result:TTT:1"),
    ]
    plain = console("threads", "show", "TTT").out
    assert "Bad news for TTT" in plain
    assert "\x1b" not in plain, "a text cannot drive the reader's terminal"


def test_watch_gives_one_key_alone(console: Console, cluster: Settings) -> None:
    asyncio.run(say(cluster, result("WWW", 1), result("VVV", 1), result("WWW", 2)))
    of_key = ["watch", "results", "--from", "earliest", "--key", "WWW", "--limit", "2"]
    ids = [line["value"]["id"] for line in console(*of_key, "--json").lines()]
    assert ids == ["result:WWW:1", "result:WWW:2"]
    assert "negative  0.80 WWW" in console(*of_key).out


def test_a_dead_letter_is_put_back_with_its_bytes_and_only_once(
    console: Console, cluster: Settings
) -> None:
    original = b"\xff not json \x00"

    async def story() -> str:
        raw = Message(FEED_EVENTS.name, b"k\xfe", original, [("origin", b"\x01\x02")])
        (record,) = await say(cluster, raw)

        class Failed:
            """A consumed record, as services hand it to `dead_letter`."""

            topic, partition, offset = record.topic, record.partition, record.offset
            timestamp, key, value = record.timestamp_ms, record.key, record.value
            headers = tuple(raw.headers)

        verdict = Unanswerable(ErrorClass.NOT_JSON, "the body is not JSON")
        letter = dead_letter(Failed, verdict, "finance.reader", {})
        assert letter.topic == DEAD_LETTERS.name
        await say(cluster, letter)
        return dead_letter_id("finance.reader", record.topic, record.partition, record.offset)

    async def on_feed() -> list[Record]:
        return [one for one in await read_settled(cluster, FEED_EVENTS.name) if one.key == b"k\xfe"]

    letter_id = asyncio.run(story())
    listed = console("dead-letters", "list", "--error", "not-json", "--json").lines()
    assert [one["id"] for one in listed] == [letter_id]
    assert "base64:/yBub3QganNvbiAA" in console("dead-letters", "show", letter_id).out

    first = console("dead-letters", "replay", letter_id, "--json").lines()
    again = console("dead-letters", "replay", "--all", "--error", "not-json", "--json").lines()
    assert first == [{"id": letter_id, "outcome": "replayed"}]
    assert again == [{"id": letter_id, "outcome": "replayed before"}]

    before, replayed = asyncio.run(on_feed())
    assert (replayed.key, replayed.value) == (before.key, original)
    assert replayed.partition == before.partition
    assert dict(replayed.headers) == {
        "origin": b"\x01\x02",
        "headrace-replay-of": letter_id.encode(),
    }
    line = console("read", "feed.events", "--until-end", "--jsonl").lines()[-1]
    assert {"encoding", "value"} <= set(line)


def test_two_replays_at_once_put_a_record_back_once(cluster: Settings) -> None:
    async def story() -> int:
        raw = Message(FEED_EVENTS.name, b"twice", b"{}", [])
        (record,) = await say(cluster, raw)

        class Failed:
            topic, partition, offset = record.topic, record.partition, record.offset
            timestamp, key, value = record.timestamp_ms, record.key, record.value
            headers = ()

        verdict = Unanswerable(ErrorClass.AGENT_FAILED, "it raised")
        await say(cluster, dead_letter(Failed, verdict, "finance.reader", {}))
        found = [one async for one in find(cluster, error_class="agent-failed")]
        outcomes = await asyncio.gather(
            *(replay(cluster, found) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(one, dict | KafkaError) for one in outcomes)
        await replay(cluster, found)  # what the operator does when a replay was cut short
        found_again = await read_settled(cluster, FEED_EVENTS.name)
        return sum(one.key == b"twice" for one in found_again)

    assert asyncio.run(story()) == 2


def test_lag_counts_records_and_not_the_markers_of_transactions(
    console: Console, cluster: Settings
) -> None:
    async def commit(records: list[Record]) -> None:
        consumer = clients.consumer(cluster, group_id=group_id("test"))
        await consumer.start()
        try:
            last = records[-1]
            part = TopicPartition(last.topic, last.partition)
            consumer.assign([part])
            await consumer.commit({part: OffsetAndMetadata(last.offset + 1, "")})
        finally:
            await consumer.stop()

    def of_group() -> list[tuple[int, int]]:
        rows = asyncio.run(lags(cluster))
        return [
            (row.lag, row.end - (row.committed or 0))
            for row in rows
            if row.group == group_id("test")
        ]

    first = asyncio.run(say(cluster, result("LLL", 1)))
    asyncio.run(commit(first))
    assert of_group() == [(0, 1)]
    asyncio.run(say(cluster, result("LLL", 2), result("LLL", 3)))
    shown = console("lag", "--json").lines()
    (mine,) = [row for row in shown if row["group"] == group_id("test")]
    assert (mine["topic"], mine["lag"]) == ("kernel.results", 2)
    assert "kernel.results" in console("lag").out


def test_a_service_that_never_ran_is_behind_by_everything(
    console: Console, cluster: Settings
) -> None:
    event = FeedEvent(id="unread", text="Nobody reads this")
    asyncio.run(say(cluster, Message.of(FEED_EVENTS, b"wire", event, "test")))
    rows = console("lag", "--json").lines()
    reader = [row for row in rows if row["group"] == group_id("finance.reader")]
    assert {row["committed"] for row in reader} == {None}
    everything = console("read", "feed.events", "--until-end", "--jsonl").lines()
    assert sum(row["lag"] for row in reader) == len(everything) > 0
