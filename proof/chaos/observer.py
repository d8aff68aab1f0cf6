"""Readers of both isolation levels: along with the faults, and over everything at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from proof.chaos.history import Ends, Isolation, Seen
from streams import cluster, reading
from streams.settings import Settings

Decode = Callable[[Any, str, Isolation, bool], Seen]
"""From a record, and who read it, to its entry in the history."""

_POLL_MS: Final = 200


class Observer:
    """Reads for one history; `decode` knows what the records mean."""

    def __init__(self, settings: Settings, decode: Decode) -> None:
        self._settings = settings
        self._decode = decode
        self.live: list[Seen] = []
        self._news = asyncio.Event()

    async def follow(self, topics: Iterable[str], reader: str = "along") -> None:
        """Read committed records as they come, until cancelled; a broker may go and return."""
        parts = await reading.partitions(self._settings, topics)
        at: dict[TopicPartition, int] = dict.fromkeys(parts, 0)
        while True:
            with contextlib.suppress(KafkaError, OSError):
                await self._follow(parts, at, reader)
            await asyncio.sleep(1)

    async def _follow(
        self, parts: list[TopicPartition], at: dict[TopicPartition, int], reader: str
    ) -> None:
        async with reading.assigned(self._settings, parts) as consumer:
            for part in parts:
                consumer.seek(part, at[part])
            while True:
                for part, batch in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    self.live += [self._decode(one, reader, "committed", False) for one in batch]
                    at[part] = batch[-1].offset + 1
                    self._news.set()

    async def next(self) -> None:
        """Return when the reader that reads along has seen something more."""
        self._news.clear()
        await self._news.wait()

    async def everything(self, topics: Iterable[str], isolation: Isolation) -> list[Seen]:
        """Every record, from the start to the end as it is now.

        Raises:
            StalledError: the end cannot be reached.
        """
        parts = await reading.partitions(self._settings, topics)
        async with self._consumer(parts, isolation) as consumer:
            ends = await consumer.end_offsets(parts)
            # Not seek_to_beginning: a reset to the end, under way since the start, can win over it.
            for part, offset in (await consumer.beginning_offsets(parts)).items():
                consumer.seek(part, offset)
            return [
                self._decode(record, f"end-{isolation}", isolation, True)
                async for record in reading.up_to(consumer, parts, ends)
            ]

    async def records(self, topics: Iterable[str]) -> list[reading.Record]:
        """Committed records as they stand, from the start to the end as it is now."""
        return [record async for record in reading.read(self._settings, topics)]

    async def ends(self, topics: Iterable[str]) -> list[Ends]:
        """Where each partition ends for either isolation level."""
        parts = await reading.partitions(self._settings, topics)
        found = {}
        for isolation in ("committed", "uncommitted"):
            async with self._consumer(parts, isolation) as consumer:
                found[isolation] = await consumer.end_offsets(parts)
        return [
            Ends(part.topic, part.partition, found["committed"][part], found["uncommitted"][part])
            for part in parts
        ]

    @asynccontextmanager
    async def _consumer(
        self, parts: list[TopicPartition], isolation: str
    ) -> AsyncIterator[AIOKafkaConsumer]:
        if isolation == "committed":
            async with reading.assigned(self._settings, parts) as consumer:
                yield consumer
            return
        consumer = AIOKafkaConsumer(
            **cluster.connection(self._settings),
            isolation_level="read_uncommitted",
            enable_auto_commit=False,
        )
        consumer.assign(parts)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()
