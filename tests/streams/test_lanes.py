"""Lanes over a real broker: each record's answer is visible once, whatever ends a lane."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause
from schemas.ids import group_id
from schemas.topics import DEAD_LETTERS
from streams import cluster as clients
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(120)


class Copying:
    """Answers each record with a copy after a random while; `poison` is refused."""

    def __init__(self, service: str, to: str) -> None:
        self.service = service
        self._to = to
        self.prepared: list[dict[str, str]] = []

    def admit(self, record: Any) -> tuple[Message, Cause | None]:
        body = orjson.loads(record.value)
        if body.get("poison"):
            raise Unanswerable(ErrorClass.WRONG_TYPE, "poison")
        cause = Cause(*body["cause"]) if "cause" in body else None
        return Message(self._to, record.key, record.value, []), cause

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        return [asyncio.ensure_future(self._answer(item)) for item in items]

    async def _answer(self, message: Message) -> Answer:
        await asyncio.sleep(random.random() / 50)
        return Answer((message,), {"copy": "v7"})

    async def prepare(self, versions: dict[str, str]) -> None:
        self.prepared.append(versions)


@asynccontextmanager
async def running(lanes: Lanes[Any]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(lanes.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def numbered(count: int, keys: int = 8) -> list[tuple[bytes, bytes]]:
    return [(b"key%d" % (n % keys), orjson.dumps({"n": n})) for n in range(count)]


async def _all_of(settings: Settings, topic: str, count: int) -> list[Any]:
    async def complete() -> list[Any]:
        records = await topics.read_all(settings, topic)
        return records if len(records) >= count else []

    found: list[Any] = await topics.until(complete, f"{count} records in {topic}", 60)
    return found


def _in_order(records: Sequence[Any]) -> bool:
    last: dict[bytes, int] = {}
    for record in records:
        number = record.json()["n"]
        if last.get(record.key, -1) >= number:
            return False
        last[record.key] = number
    return True


async def test_every_record_is_answered_once_and_in_order_within_its_key(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "plain.in", "plain.out")
    await topics.publish(cluster, "plain.in", numbered(2_000))
    async with running(Lanes(cluster, ["plain.in"], Copying("plain", "plain.out"))):
        records = await _all_of(cluster, "plain.out", 2_000)
    assert Counter(r.json()["n"] for r in records) == Counter(range(2_000))
    assert _in_order(records)


async def test_offsets_join_a_transaction_once_all_its_messages_are_delivered(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that verifies two parts of a transaction at the same time refuses one of them."""
    sent: dict[int, list[asyncio.Future[Any]]] = {}
    undelivered: list[int] = []
    send, offsets = AIOKafkaProducer.send, AIOKafkaProducer.send_offsets_to_transaction

    async def watched_send(self: AIOKafkaProducer, *args: Any, **named: Any) -> Any:
        delivery = await send(self, *args, **named)
        sent.setdefault(id(self), []).append(delivery)
        return delivery

    async def watched_offsets(self: AIOKafkaProducer, *args: Any, **named: Any) -> Any:
        undelivered.append(sum(not one.done() for one in sent.pop(id(self), [])))
        return await offsets(self, *args, **named)

    monkeypatch.setattr(AIOKafkaProducer, "send", watched_send)
    monkeypatch.setattr(AIOKafkaProducer, "send_offsets_to_transaction", watched_offsets)
    await topics.create(cluster, "parts.in", "parts.out")
    await topics.publish(cluster, "parts.in", numbered(200))
    async with running(Lanes(cluster, ["parts.in"], Copying("parts", "parts.out"))):
        await _all_of(cluster, "parts.out", 200)
    assert undelivered
    assert not any(undelivered)


async def test_nothing_is_lost_or_doubled_when_owners_come_and_go_at_random(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "churn.in", "churn.out", partitions=3)
    rng = random.Random(5)
    done = asyncio.Event()
    openings: list[dict[str, str]] = []

    async def owner() -> None:
        while not done.is_set():
            handler = Copying("churn", "churn.out")
            handler.prepared = openings
            async with running(Lanes(cluster, ["churn.in"], handler)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), rng.uniform(0.5, 2.5))

    owners = [asyncio.create_task(owner()) for _ in range(2)]
    published = 0
    try:
        while len(openings) < 20:
            batch = numbered(published + 50)[published:]
            await topics.publish(cluster, "churn.in", batch)
            published += len(batch)
        await _all_of(cluster, "churn.out", published)
    finally:
        done.set()
        await asyncio.gather(*owners)
    records = await topics.read_all(cluster, "churn.out")
    assert Counter(r.json()["n"] for r in records) == Counter(range(published))
    assert _in_order(records)


async def test_two_owners_of_one_partition_at_once_double_nothing(cluster: Settings) -> None:
    """The zombie's case: both believe that the partition is theirs, and fence each other."""
    await topics.create(cluster, "both.in", "both.out", partitions=1)
    handlers = [Copying("both", "both.out") for _ in range(2)]
    lanes = [Lanes(cluster, ["both.in"], handler) for handler in handlers]
    partition = TopicPartition("both.in", 0)
    for each in lanes:
        await each._own([partition])
    try:
        for start in range(0, 1_000, 100):
            batch = [(b"key", orjson.dumps({"n": n})) for n in range(start, start + 100)]
            await topics.publish(cluster, "both.in", batch)
        await _all_of(cluster, "both.out", 1_000)
    finally:
        for each in lanes:
            await each._own(())
    records = await topics.read_all(cluster, "both.out")
    assert [r.json()["n"] for r in records] == list(range(1_000))


async def test_a_lane_goes_on_where_it_stood_when_the_coordinator_has_forgotten(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "forgot.in", "forgot.out", partitions=1)
    await topics.publish(cluster, "forgot.in", numbered(100))
    lanes = Lanes(cluster, ["forgot.in"], Copying("forgot", "forgot.out"))
    async with running(lanes):
        await _all_of(cluster, "forgot.out", 100)
    part = TopicPartition("forgot.in", 0)
    await set_back(cluster, group_id("forgot"), part)

    await topics.publish(cluster, "forgot.in", [(b"new", orjson.dumps({"n": 100}))])
    async with running(lanes):
        records = await _all_of(cluster, "forgot.out", 101)
    assert Counter(r.json()["n"] for r in records) == Counter(range(101))


async def set_back(settings: Settings, group: str, part: TopicPartition) -> None:
    """Commit the beginning for a group that has no members."""
    consumer = clients.consumer(settings, group_id=group)
    consumer.assign([part])
    await consumer.start()
    try:
        await consumer.commit({part: OffsetAndMetadata(0, "")})
    finally:
        await consumer.stop()


async def test_a_replay_by_the_same_source_is_dropped_also_after_a_change_of_owner(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "replay.in", "replay.out", partitions=1)
    said = [
        (b"k", orjson.dumps({"n": n, "cause": ["agent", "feed", 0, n // 2, n % 2]}))
        for n in range(20)
    ]
    handler = Copying("replay", "replay.out")
    await topics.publish(cluster, "replay.in", said[:12] + said[4:12])
    async with running(Lanes(cluster, ["replay.in"], handler)):
        await _all_of(cluster, "replay.out", 12)
    await topics.publish(cluster, "replay.in", said[6:])
    successor = Copying("replay", "replay.out")
    async with running(Lanes(cluster, ["replay.in"], successor)):
        records = await _all_of(cluster, "replay.out", 20)
    assert [r.json()["n"] for r in records] == list(range(20))
    assert successor.prepared == [{"copy": "v7"}], "a new owner learns the version last used"


async def test_poison_becomes_one_dead_letter_and_nothing_behind_it_waits(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "poison.in", "poison.out", partitions=1)
    batch = numbered(10)
    batch[4] = (b"bad", b'{"poison": true}')
    await topics.publish(cluster, "poison.in", batch)
    async with running(Lanes(cluster, ["poison.in"], Copying("poison", "poison.out"))):
        await _all_of(cluster, "poison.out", 9)
    letters = [
        r.json()
        for r in await topics.read_all(cluster, DEAD_LETTERS.name)
        if r.json()["source"]["topic"] == "poison.in"
    ]
    assert [(one["source"]["offset"], one["error_class"]) for one in letters] == [(4, "wrong-type")]
