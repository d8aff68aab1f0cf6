"""Publishes events at a steady rate through every fault, and keeps what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from proof.chaos.history import Outcome, Sent
from streams import cluster
from streams.message import Message
from streams.settings import Settings

TICK_S: Final = 0.05
ABORT_EVERY_S: Final = 2.0
ABORTED: Final = 5
"""Events of each transaction that is aborted on purpose."""
_PATIENCE_MS: Final = 120_000
"""Longer than any broker fault: what was handed over is delivered in the end."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event to publish, under an id of its own."""

    id: str
    message: Message


class Feeder:
    """Sends `make(number)` for number 0, 1, 2, ... at `rate` a second until stopped.

    Between them it sends events in transactions that it aborts: nobody must answer these.
    """

    def __init__(self, settings: Settings, make: Callable[[int], Event], rate: float) -> None:
        self._settings = settings
        self._make = make
        self._rate = rate
        self._number = 0
        self._stopping = False
        self._flight: set[asyncio.Future[Any]] = set()
        self.sent: list[Sent] = []

    def stop(self) -> None:
        """Send nothing more; `run` returns when all is settled."""
        self._stopping = True

    async def burst(self, events: list[Event]) -> None:
        """Send events of another kind in between; call it from the running loop."""
        for event in events:
            await self._send(event)

    async def run(self) -> None:
        """Send until stopped."""
        self._producer = cluster.producer(
            self._settings, request_timeout_ms=_PATIENCE_MS, linger_ms=5
        )
        await self._producer.start()
        aborting = asyncio.create_task(self._abort_now_and_then())
        try:
            began, first = time.monotonic(), self._number
            while not self._stopping:
                due = first + int((time.monotonic() - began) * self._rate)
                if due - self._number > self._rate:  # held up by a fault: no burst afterwards
                    began, first = time.monotonic(), self._number
                while self._number < due and not self._stopping:
                    await self._send(self._next())
                await asyncio.sleep(TICK_S)
            if self._flight:
                await asyncio.wait(self._flight)
        finally:
            aborting.cancel()
            await asyncio.gather(aborting, return_exceptions=True)
            await self._producer.stop()

    def _next(self) -> Event:
        self._number += 1
        return self._make(self._number - 1)

    async def _send(self, event: Event) -> None:
        try:
            delivery = await event.message.send(self._producer)
        except KafkaError:  # not handed over at all
            return
        self._flight.add(delivery)

        def settled(future: asyncio.Future[Any]) -> None:
            self._flight.discard(future)
            if future.cancelled() or future.exception() is not None:
                self._note(event, "unknown")
            else:
                done = future.result()
                self._note(event, "acknowledged", done.partition, done.offset)

        delivery.add_done_callback(settled)

    def _note(self, event: Event, outcome: Outcome, partition: int = -1, offset: int = -1) -> None:
        message = event.message
        key = "" if message.key is None else message.key.decode()
        now = int(time.time() * 1000)
        self.sent.append(Sent(message.topic, event.id, key, outcome, now, partition, offset))

    async def _abort_now_and_then(self) -> None:
        while True:
            producer = cluster.producer(self._settings, transactional_id=f"chaos.feeder.{id(self)}")
            try:
                await producer.start()  # ends what an earlier life left open
                while True:
                    await asyncio.sleep(ABORT_EVERY_S)
                    await self._abort(producer)
            except KafkaError:
                await asyncio.sleep(1)
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(producer.stop(), 5)

    async def _abort(self, producer: AIOKafkaProducer) -> None:
        await producer.begin_transaction()
        try:
            deliveries = []
            for _ in range(ABORTED):
                event = self._next()
                self._note(event, "aborted")
                deliveries.append(await event.message.send(producer))
            await asyncio.gather(*deliveries, return_exceptions=True)
        finally:  # also where we stop: it would hang until its time-out, after all is counted
            await producer.abort_transaction()
