"""What a worker sends: in order, by one idempotent producer, without waiting for each.

Messages to `kernel.requests.*` go straight to their topic, where the kernel's lanes
drop replays by the cause in the body. All else goes through the outbox, where the
relay does so by the cause in a header.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.partitioner import murmur2

from agents.runtime.agent import Emit
from agents.runtime.failstop import fail_stop
from schemas import ids
from schemas.events import Cause
from schemas.topics import REQUESTS
from streams import cluster
from streams.message import Message
from streams.relay import to_outbox
from streams.settings import Settings
from streams.tracing import Hop

_DIRECT: Final = frozenset(topic.name for topic in REQUESTS.values())


class Flight:
    """Messages under way; it lands when the brokers have acknowledged every one.

    The first delivery that fails ends the process: a later message of the same
    partition might still be delivered, and the replay of the failed one dropped.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._sealed = False
        self._landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, delivery: asyncio.Future[Any]) -> None:
        """Count in one delivery."""
        self.pending += 1
        delivery.add_done_callback(self._delivered)

    def _delivered(self, delivery: asyncio.Future[Any]) -> None:
        if delivery.cancelled():
            fail_stop("a delivery was cancelled")
        error = delivery.exception()
        if error is not None:
            fail_stop(f"a message could not be delivered: {error!r}")
        self.pending -= 1
        self._check()

    def _check(self) -> None:
        if self._sealed and not self.pending and not self._landed.done():
            self._landed.set_result(None)

    async def land(self) -> None:
        """Wait until all are delivered; nothing may be added any more."""
        self._sealed = True
        self._check()
        await asyncio.shield(self._landed)


def message_of(emit: Emit, cause: Cause, hop: Hop | None = None) -> Message:
    """The record that an emission becomes, through the outbox where it needs to."""
    message = Message.of(emit.to, emit.key.encode(), emit.event, cause.agent)
    if hop is not None:
        message = hop.on(message)
    return message if emit.to.name in _DIRECT else to_outbox(message, cause)


class Outgoing:
    """The producer of one worker."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._producer: AIOKafkaProducer = cluster.producer(
            settings, client_id=f"{ids.group_id(name)}-out"
        )

    async def start(self) -> None:
        """Connect."""
        await self._producer.start()

    async def stop(self) -> None:
        """Deliver what is under way, then disconnect."""
        await self._producer.stop()

    async def send(self, message: Message, cause: Cause) -> asyncio.Future[Any]:
        """Hand over one message; a replay goes to the same partition."""
        partition = None
        if message.key is None:
            count = len(await self._producer.partitions_for(message.topic))
            name = ids.record_id(cause.topic, cause.partition, cause.offset)
            partition = (murmur2(name.encode()) & 0x7FFFFFFF) % count
        return await self._hand_over(message, partition)

    async def send_state(
        self, topic: str, partition: int, thread: str, value: bytes
    ) -> asyncio.Future[Any]:
        """Hand over one changelog record, on the partition of the state's source."""
        return await self._hand_over(Message(topic, thread.encode(), value, []), partition)

    async def _hand_over(self, message: Message, partition: int | None) -> asyncio.Future[Any]:
        while True:
            try:
                delivery: asyncio.Future[Any] = await self._producer.send(
                    message.topic,
                    message.value,
                    message.key,
                    partition=partition,
                    headers=message.headers,
                )
            except KafkaTimeoutError:  # the buffer is full and the brokers away: nothing was added
                continue
            return delivery
