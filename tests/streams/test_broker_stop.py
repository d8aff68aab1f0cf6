"""A broker that is asked to end while transactions commit: each of them is whole afterwards.

A single broker gives up its leaderships before it ends. Kafka 4.3.0 to 4.4.0 takes a partition
without a leader for deleted, skips the markers of its transactions and says that they are complete
(KAFKA-20734): their records hang, and the producer's next commit reveals them beside those that
say the same again. The version that we pin must not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Final

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams import cluster as clients
from streams import reading
from streams.broker import EmbeddedBroker
from streams.committed import committed
from streams.settings import Settings

OWNERS: Final = 8
STOPS: Final = 3
GROUP: Final = "owners"


async def work(settings: Settings, owner: int, done: Counter[int]) -> None:
    """Say a number and commit the next one as offset, in one transaction, again and again."""
    producer = clients.producer(
        settings, transactional_id=f"owner-{owner}", transaction_timeout_ms=60_000
    )
    place = TopicPartition("in", owner)
    await producer.start()
    try:
        admin = clients.admin(settings)
        await admin.start()
        found = (await committed(admin, GROUP, [place])).get(place)
        await admin.close()
        number = 0 if found is None else found.offset
        while True:
            await producer.begin_transaction()
            said = await producer.send("out", f"{owner}:{number}".encode(), partition=owner % 4)
            offsets = {place: OffsetAndMetadata(number + 1, "")}
            await producer.send_offsets_to_transaction(offsets, GROUP)
            await said
            await producer.commit_transaction()
            number += 1
            done[owner] += 1
    finally:
        with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(1):
                await producer.stop()


async def until_all_worked(tasks: list[asyncio.Task[None]], done: Counter[int]) -> None:
    async with asyncio.timeout(60):
        while any(done[owner] < 5 for owner in range(OWNERS)):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)


async def test_what_commits_while_a_broker_ends_is_there_once_afterwards(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    for stop in range(STOPS + 1):
        await broker.start()
        settings = Settings(data=tmp_path, bootstrap=broker.bootstrap)
        if stop == 0:
            admin = clients.admin(settings)
            await admin.start()
            await admin.create_topics([NewTopic("out", 4, 1), NewTopic("in", OWNERS, 1)])
            await admin.close()
        done: Counter[int] = Counter()
        tasks = [asyncio.create_task(work(settings, owner, done)) for owner in range(OWNERS)]
        await until_all_worked(tasks, done)
        if stop < STOPS:
            await broker.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    said = Counter([(one.value or b"").decode() async for one in reading.read(settings, ["out"])])
    await broker.stop()
    assert [one for one, times in said.items() if times > 1] == []
    for owner in range(OWNERS):
        numbers = sorted(int(one.split(":")[1]) for one in said if one.startswith(f"{owner}:"))
        assert numbers == list(range(len(numbers)))
