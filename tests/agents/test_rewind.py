"""A fetch that a rebalance overtakes takes nothing away from whoever works next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from agents.runtime.transport import ConsumerThread
from streams import cluster
from streams.broker import EmbeddedBroker
from streams.settings import Settings
from tests.support import topics

TOPIC = "rewind.source"
PART = TopicPartition(TOPIC, 0)


class Thread(ConsumerThread):
    """The consumer's thread without the thread: everything runs in the test's loop."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.consumer = SimpleNamespace(flow_active=True)

    def _ensure_consumer(self) -> Any:
        return self._consumer

    async def call_thread(self, function: Any, *arguments: Any) -> Any:
        return await function(*arguments)

    _fetch_records = AIOKafkaConsumerThread._fetch_records


async def test_records_taken_by_a_fetch_that_was_overtaken_are_fetched_again(
    broker: EmbeddedBroker,
) -> None:
    settings = Settings(bootstrap=broker.bootstrap)
    await topics.create(settings, TOPIC, partitions=1)
    await topics.publish(settings, TOPIC, [(b"k", str(n).encode()) for n in range(10)])
    consumer = cluster.consumer(settings, TOPIC, group_id="rewind", auto_offset_reset="earliest")
    await consumer.start()
    try:
        thread = Thread(consumer)
        await topics.until(lambda: _assigned(consumer), "an assignment")
        await consumer.commit({PART: 4})

        consumer._subscription.begin_reassignment()
        overtaken = asyncio.create_task(thread._fetch({PART}))
        await asyncio.sleep(0)
        consumer._subscription.assign_from_subscribed({PART})
        consumer.seek(PART, 4)  # as Faust does after the assignment
        (dropped,) = await overtaken
        assert [record.offset for record in dropped.records] == [4, 5, 6, 7, 8, 9]
        assert await consumer.position(PART) == 10  # without rewinding, 4 to 9 are lost

        assert await thread.rewind({PART}) == {PART: 4}
        (batch,) = await topics.until(lambda: thread._fetch({PART}), "records")
        assert batch.begin == 4
        assert [record.offset for record in batch.records] == [4, 5, 6, 7, 8, 9]
    finally:
        await consumer.stop()


async def _assigned(consumer: Any) -> bool:
    return PART in consumer.assignment()
