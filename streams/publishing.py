"""Publishing many records fast: acknowledgements are awaited behind the sends, not between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from streams import cluster, tracing
from streams.message import Message
from streams.settings import Settings

IN_FLIGHT: Final = 4_096
"""Records sent and not yet acknowledged: what bounds the memory of a publisher."""
_LINGER_MS: Final = 5


class Publisher:
    """Sends messages in order; holds at most `IN_FLIGHT` that are not acknowledged.

    The producer is idempotent: the order within a partition is the order of `send`,
    and a retry does not double a record.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self.acknowledged = 0

    async def send(self, message: Message) -> None:
        """Hand over one message; waits only while too many are on their way.

        Raises:
            KafkaError: an earlier message was refused or could not be delivered.
        """
        if len(self._waiting) >= IN_FLIGHT:
            await self._settle_one()
        self._waiting.append(await tracing.sent(message).send(self._producer))
        while self._waiting and self._waiting[0].done():
            await self._settle_one()

    async def flush(self) -> None:
        """Wait until every message is acknowledged."""
        await self._producer.flush()
        while self._waiting:
            await self._settle_one()

    async def _settle_one(self) -> None:
        await self._waiting.popleft()
        self.acknowledged += 1


@asynccontextmanager
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    """A publisher; on the way out everything sent is acknowledged."""
    producer = cluster.producer(settings, linger_ms=_LINGER_MS)
    await producer.start()
    try:
        with tracing.tracing("publisher"):
            sender = Publisher(producer)
            yield sender
            await sender.flush()
    finally:
        await producer.stop()
