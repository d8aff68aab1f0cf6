"""Topics for one test each, and everything that is visible in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic

from streams import cluster
from streams.closing import close
from streams.reading import Record, partitions, read
from streams.settings import Settings


async def create(settings: Settings, *names: str, partitions: int = 2) -> None:
    """Make topics that must not exist yet."""
    admin = cluster.admin(settings)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def settled(settings: Settings, *topics: str) -> None:
    """Return when no transaction is open on `topics`.

    A commit is answered before its markers are written, so what it said may not be visible yet.
    """
    parts = await partitions(settings, topics)
    async with AsyncExitStack() as stack:
        readers = []
        for isolation in ("read_committed", "read_uncommitted"):
            reader = AIOKafkaConsumer(**cluster.connection(settings), isolation_level=isolation)
            await reader.start()
            stack.push_async_callback(close, reader)
            readers.append(reader)

        async def level() -> bool:
            committed, uncommitted = [await reader.end_offsets(parts) for reader in readers]
            return bool(committed == uncommitted)

        await until(level, f"no open transaction on {', '.join(topics)}")


async def read_all(settings: Settings, *topics: str) -> list[Record]:
    """Every record that a read_committed reader sees, by topic, partition and offset."""
    found = [record async for record in read(settings, topics)]
    return sorted(found, key=lambda r: (r.topic, r.partition, r.offset))


async def read_settled(settings: Settings, *topics: str) -> list[Record]:
    """The same, once no transaction is open on them."""
    await settled(settings, *topics)
    return await read_all(settings, *topics)


async def publish(
    settings: Settings,
    topic: str,
    records: Sequence[tuple[bytes | None, bytes | None]],
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Produce (key, value) pairs in order and wait for every acknowledgement."""
    producer = cluster.producer(settings)
    await producer.start()
    try:
        futures = [
            await producer.send(topic, value, key, headers=list(headers)) for key, value in records
        ]
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def until(condition: Callable[[], Awaitable[Any]], what: str, seconds: float = 60) -> Any:
    """What `condition` gives once it gives something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")
