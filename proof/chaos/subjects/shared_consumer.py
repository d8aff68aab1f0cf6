"""Two wirings that look right: one group consumer, and a transactional producer per partition.

The producer's id is derived from the partition, so a new owner fences the former one,
and results and offsets go into one transaction. What is missed is that the records in
hand were fetched by the shared consumer before the fencing. A zombie that wakes is
fenced, reopens its producer, and now fences the rightful owner in turn. With `keep`
both commit what they had in hand: it is doubled. Without, both drop it, but the
consumer's position has moved on, so nobody fetches it again: it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from proof.chaos.subjects import IN, OUT, SERVICE, WORK_S
from schemas.ids import group_id
from streams import cluster
from streams.settings import Settings

log = logging.getLogger(__name__)

BATCH: Final = 50
IN_HAND: Final = 4
"""Batches of a partition that wait for their turn."""


class _Writer:
    """The producer of one partition, and the batches that wait for it."""

    def __init__(self, settings: Settings, partition: TopicPartition, *, keep: bool) -> None:
        self._settings = settings
        self._partition = partition
        self._keep = keep
        self.batches: asyncio.Queue[Sequence[Any]] = asyncio.Queue(IN_HAND)

    async def run(self) -> None:
        while True:
            producer = cluster.producer(
                self._settings,
                transactional_id=f"{group_id(SERVICE)}:{self._partition.partition}",
            )
            try:
                await producer.start()
                await self._write(producer)
            except KafkaError as error:
                log.warning("%s: reopened after %r", self._partition, error)
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(producer.stop(), 5)
            if not self._keep:
                while not self.batches.empty():
                    self.batches.get_nowait()

    async def _write(self, producer: AIOKafkaProducer) -> None:
        while True:
            records = await self.batches.get()
            await asyncio.sleep(WORK_S)
            try:
                await self._transaction(producer, records)
            except KafkaError:
                if self._keep:
                    self._put_back(records)
                raise

    def _put_back(self, records: Sequence[Any]) -> None:
        waiting = [records]
        while not self.batches.empty():
            waiting.append(self.batches.get_nowait())
        self.batches = asyncio.Queue(max(IN_HAND, len(waiting)))
        for batch in waiting:
            self.batches.put_nowait(batch)

    async def _transaction(self, producer: AIOKafkaProducer, records: Sequence[Any]) -> None:
        await producer.begin_transaction()
        deliveries = [
            await producer.send(OUT, record.value, record.key, headers=record.headers)
            for record in records
        ]
        await producer.send_offsets_to_transaction(
            {self._partition: records[-1].offset + 1}, group_id(SERVICE)
        )
        await asyncio.gather(*deliveries)
        await producer.commit_transaction()


class _Writers(ConsumerRebalanceListener):  # type: ignore[misc]
    """A writer for each partition that is assigned."""

    def __init__(self, settings: Settings, *, keep: bool) -> None:
        self._settings = settings
        self._keep = keep
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self.writers: dict[TopicPartition, _Writer] = {}

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: who stays the owner goes on."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Close what went elsewhere, open what is new."""
        assigned = set(assigned)
        for partition in set(self._tasks) - assigned:
            self.writers.pop(partition)
            self._tasks.pop(partition).cancel()
        for partition in assigned - set(self._tasks):
            writer = self.writers[partition] = _Writer(self._settings, partition, keep=self._keep)
            self._tasks[partition] = asyncio.create_task(writer.run())


async def serve(settings: Settings, *, keep: bool) -> None:
    """Serve until cancelled."""
    consumer = cluster.consumer(
        settings,
        group_id=group_id(SERVICE),
        auto_offset_reset="earliest",
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 6,
    )
    writers = _Writers(settings, keep=keep)
    consumer.subscribe([IN], listener=writers)
    await consumer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        for partition, records in fetched.items():
            if partition in writers.writers:
                await writers.writers[partition].batches.put(records)
