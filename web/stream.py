"""The one reader of all topics: it feeds the index, and what every open page shows live.

There is one consumer whatever the number of pages. Decoding and writing run in a thread of
their own, so a page answers while history is read. Every record reaches the index; of the
verdicts at most `SHOWN_PER_S` a second reach the pages, and the pages say when that is a sample.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kernel.registry import Registry
from schemas.events import AlertState, Delivery, ModelVersion
from schemas.topics import (
    ALERT_STATES,
    CATALOGUE,
    DEAD_LETTERS,
    DELIVERIES,
    MODELS,
    OUTBOX,
    RESULTS,
)
from streams import cluster, reading
from streams.reading import Record
from streams.settings import Settings
from web.index import Index, Offsets
from web.live import Live, Memory, decode_record
from web.tables import Batch, digest
from web.thread import STEP
from web.trials import Trials

log = logging.getLogger(__name__)

TOPICS: Final = tuple(name for name in CATALOGUE if name != OUTBOX.name)
"""The outbox holds replays too; what it carries stands on its own topic once."""
_WHOLE: Final = (MODELS.name, ALERT_STATES.name, DELIVERIES.name)
"""Small, and read from the start each time: the present is all of them."""
_CYCLE_S: Final = 0.1
_BEAT_S: Final = 2.0
_BATCH: Final = 4_000
_LONGEST_WAIT_S: Final = 5.0

Key = str | tuple[str, int, int]
Heard = Callable[[str, Any], None]
"""Takes the topic of an answer and the event itself."""


class Stream:
    """Follows the topics until cancelled; `live` is what the pages look at."""

    def __init__(self, settings: Settings, index: Index, live: Live) -> None:
        self._settings = settings
        self._index = index
        self.live = live
        self.registry = Registry()
        self.alert_states: dict[str, AlertState] = {}
        self.deliveries = Memory()
        """By alert, the newest record of each target."""
        self.trials = Trials()
        self._listeners: dict[Key, Heard] = {}

    def listen(self, key: Key, heard: Heard) -> None:
        """Tell `heard` of each record that answers `key`, until `forget`.

        A key is a request's id, which its result answers, or the (topic, partition, offset) of
        a record, which results caused by it, or its dead letter, answer.
        """
        self._listeners[key] = heard

    def forget(self, key: Key) -> None:
        """No longer listen."""
        self._listeners.pop(key, None)

    async def run(self) -> None:
        """Follow for ever; a cluster that goes away is waited for, and the pages say so."""
        delay = _CYCLE_S
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, reading.StalledError, reading.UnknownTopicError) as error:
                log.warning("the cluster does not answer: %s; next try in %.1f s", error, delay)
                self.live.lost(" ".join(str(error).split())[:200] or type(error).__name__)
            await asyncio.sleep(delay)
            delay = _CYCLE_S if self.live.connected else min(2 * delay, _LONGEST_WAIT_S)

    async def _follow(self) -> None:
        cluster_id = await _cluster_id(self._settings)
        parts = await reading.partitions(self._settings, TOPICS)
        stored = await asyncio.to_thread(self._index.open, cluster_id)
        self.registry.versions.clear()
        async with (
            reading.assigned(self._settings, parts) as consumer,
            self._beating(cluster_id) as beat,
        ):
            ends = await self._seek(consumer, parts, stored, cluster_id)
            self.live.found(ends, {part: await consumer.position(part) for part in parts})
            while True:
                began = time.monotonic()
                found = await consumer.getmany(timeout_ms=500, max_records=_BATCH)
                records = [_record(one) for batch in found.values() for one in batch]
                if records:
                    # Across topics in the order of time, so that causes stand before effects.
                    records.sort(key=lambda one: (one.timestamp_ms, STEP[one.topic]))
                    await self._take(records)
                if beat.done():
                    beat.result()
                at = {part: await consumer.position(part) for part in parts}
                self.live.tick(at, {part: consumer.last_stable_offset(part) or 0 for part in parts})
                if len(records) < _BATCH:
                    await asyncio.sleep(max(_CYCLE_S - (time.monotonic() - began), 0))

    @asynccontextmanager
    async def _beating(self, cluster_id: str) -> AsyncIterator[asyncio.Task[None]]:
        beat = asyncio.create_task(self._beat(cluster_id))
        try:
            yield beat
        finally:
            beat.cancel()

    async def _beat(self, cluster_id: str) -> None:
        """Ask the cluster now and then whether it is there.

        A consumer waits in silence for a broker that is away, and goes on by itself when it is
        back: only the pages must be told.
        """
        while True:
            await asyncio.sleep(_BEAT_S)
            try:
                async with asyncio.timeout(_LONGEST_WAIT_S):
                    found = await _cluster_id(self._settings)
            except (KafkaError, OSError) as error:
                self.live.lost(" ".join(str(error).split())[:200] or type(error).__name__)
                continue
            if found != cluster_id:
                raise reading.StalledError("another cluster answers at this address")
            self.live.back()

    async def _seek(
        self,
        consumer: AIOKafkaConsumer,
        parts: Sequence[TopicPartition],
        stored: Offsets,
        cluster_id: str,
    ) -> dict[TopicPartition, int]:
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(parts)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(parts)
        if any(stored.get((p.topic, p.partition), 0) > ends[p] for p in parts):
            log.warning("the topics are not those that the index was built from: it begins anew")
            await asyncio.to_thread(self._index.clear, cluster_id)
            stored = {}
        for part in parts:
            known = stored.get((part.topic, part.partition), 0)
            start = 0 if part.topic in _WHOLE else known
            consumer.seek(part, max(start, begins[part]))
        return ends

    async def _take(self, records: list[Record]) -> None:
        batch = await asyncio.to_thread(self._digest, records)
        for record in records:
            if record.topic in _WHOLE:
                self._apply_whole(record)
        self._answer(batch)
        self.trials.take(self.registry, batch.seen)
        self.live.take(batch, records)

    def _digest(self, records: list[Record]) -> Batch:
        batch = digest(records)
        self._index.apply(batch)
        return batch

    def _apply_whole(self, record: Record) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        if record.topic == MODELS.name:
            self.registry.apply(key, decode_record(ModelVersion, record))
        elif record.topic == DELIVERIES.name:
            delivery = decode_record(Delivery, record)
            if delivery is not None:
                known = self.deliveries.get(delivery.alert_id, {})
                self.deliveries.put(delivery.alert_id, known | {delivery.target: delivery})
        else:
            state = decode_record(AlertState, record)
            if state is None:
                self.alert_states.pop(key, None)
            else:
                self.alert_states[key] = state

    def _answer(self, batch: Batch) -> None:
        """Hand results and dead letters to those who listen for them."""
        if not self._listeners:
            return
        for one in batch.seen:
            event: Any = one.event
            keys: list[Key] = []
            if one.record.topic == RESULTS.name:
                keys.append(event.request_id)
                if event.cause is not None:
                    keys.append((event.cause.topic, event.cause.partition, event.cause.offset))
            elif one.record.topic == DEAD_LETTERS.name:
                source = event.source
                keys.append((source.topic, source.partition, source.offset))
            for key in keys:
                heard = self._listeners.get(key)
                if heard is not None:
                    heard(one.record.topic, event)


async def _cluster_id(settings: Settings) -> str:
    admin = cluster.admin(settings)
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


def _record(found: Any) -> Record:
    return Record(
        found.topic,
        found.partition,
        found.offset,
        found.timestamp,
        found.key,
        found.value,
        found.headers,
    )
