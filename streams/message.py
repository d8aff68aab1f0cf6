"""A message on its way out: where to, under which key, in which bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import envelope
from schemas.events import Event
from schemas.topics import Topic


@dataclass(frozen=True, slots=True)
class Message:
    """One record to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        """Bytes of the record, at most: body, key, headers and what Kafka adds."""
        headers = sum(len(name) * 4 + len(content or b"") + 12 for name, content in self.headers)
        return len(self.value or b"") + len(self.key or b"") + headers + 100

    @classmethod
    def of(cls, topic: Topic, key: bytes | None, event: Event, source: str) -> Message:
        """The record that carries `event`, said by the service `source`."""
        value, headers = envelope.encode(event, source)
        return cls(topic.name, key, value, headers)

    async def send(self, producer: AIOKafkaProducer) -> asyncio.Future[Any]:
        """Hand to the producer; the future ends when the brokers have acknowledged."""
        future: asyncio.Future[Any] = await producer.send(
            self.topic, self.value, self.key, headers=self.headers
        )
        future.add_done_callback(_seen)
        return future


def _seen(delivery: asyncio.Future[Any]) -> None:
    """Take note of a failure: of many that fail together the sender awaits one, perhaps."""
    if not delivery.cancelled():
        delivery.exception()
