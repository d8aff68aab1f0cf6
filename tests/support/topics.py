"""Topics for one test each, and everything that is visible in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.admin import NewTopic

from streams import cluster
from streams.reading import Record, read
from streams.settings import Settings


async def create(settings: Settings, *names: str, partitions: int = 2) -> None:
    """Make topics that must not exist yet."""
    admin = cluster.admin(settings)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def read_all(settings: Settings, *topics: str) -> list[Record]:
    """Every record that a read_committed reader sees, by topic, partition and offset."""
    found = [record async for record in read(settings, topics)]
    return sorted(found, key=lambda r: (r.topic, r.partition, r.offset))


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


async def until(condition: Callable[[], Awaitable[Any]], what: str, seconds: float = 30) -> Any:
    """What `condition` gives once it gives something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")
