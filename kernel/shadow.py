"""The shadow: versions on trial are asked what others answered, with what time is left over.

Only measurements are made here, so they may be missing: they are scored after the answer, by a
thread of the least priority, while the engine has nothing else to do (and a little otherwise,
so that a loaded kernel learns something too); what does not fit in a bounded queue is dropped
and counted. They are not a part of the lane's transaction, which must not wait for them: a
killed kernel loses what is in the queue, and an answer that is computed anew is shadowed anew,
under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from aiokafka import AIOKafkaProducer

from kernel.drivers.base import DriverError
from kernel.loading import Loaded
from schemas.errors import Unanswerable
from schemas.events import KernelRequest, KernelResult, ShadowScore
from schemas.ids import shadow_id
from schemas.topics import SHADOW
from streams import cluster
from streams.closing import close
from streams.message import Message
from streams.settings import Settings

log = logging.getLogger(__name__)

MOST_WAITING: Final = 1_024
"""Requests that wait to be shadowed; a megabyte or so of texts."""
BATCH: Final = 8
"""Texts scored at a time: what a request that comes meanwhile has to share a core with."""
PATIENCE_S: Final = 0.25
"""How long a batch waits for a kernel that is busy; then it takes its turn all the same."""
_LOOK_S: Final = 0.01
_LEAST_PRIORITY: Final = 19


@dataclass(frozen=True, slots=True)
class Offer:
    """An answered request, and who is to be asked about it as well."""

    request: KernelRequest
    result: KernelResult
    by: Loaded
    aside: Loaded


class Shadow:
    """Takes offers in, and publishes what the other version says to them."""

    def __init__(self, settings: Settings, service: str, busy: Callable[[], bool]) -> None:
        self._settings = settings
        self._service = service
        self._busy = busy
        self._waiting: deque[Offer] = deque()
        self._outbox: deque[Message] = deque(maxlen=MOST_WAITING)
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "shadow", initializer=_step_back)
        self.scored = 0
        self.dropped = 0
        """Offers that found the queue full."""

    def offer(self, offer: Offer) -> None:
        """Ask aside about a request that was answered; never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(offer)
        self._work.set()

    def failed(self, offer: Offer, reason: str) -> None:
        """Say that a canary (`offer.aside`) failed where `offer.by` then answered."""
        self._outbox.append(self._message(offer, "", reason))
        self._work.set()

    async def run(self) -> None:
        """Score and publish until cancelled."""
        producer: AIOKafkaProducer | None = None
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if producer is None:
                    producer = cluster.producer(self._settings)
                    await producer.start()
                try:
                    await self._work_off(producer)
                except Exception as error:  # noqa: BLE001  (a measurement must not end a kernel)
                    log.warning("shadow scores are lost: %s: %s", type(error).__name__, error)
        finally:
            if producer is not None:
                await close(producer)

    async def _work_off(self, producer: AIOKafkaProducer) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or self._outbox:
            if self._waiting:
                await self._leisure()
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                said = await loop.run_in_executor(self._thread, _score, batch)
                for offer, (label, error) in zip(batch, said, strict=True):
                    self._outbox.append(self._message(offer, label, error))
                self.scored += len(batch)
            deliveries = []
            while self._outbox:
                deliveries.append(await self._outbox.popleft().send(producer))
            await asyncio.gather(*deliveries)

    async def _leisure(self) -> None:
        """Return when the kernel has nothing better to do, or this has waited long enough."""
        until = time.monotonic() + PATIENCE_S
        while self._busy() and time.monotonic() < until:  # noqa: ASYNC110  (a thread ends it)
            await asyncio.sleep(_LOOK_S)

    def _message(self, offer: Offer, label: str, error: str) -> Message:
        request, result = offer.request, offer.result
        score = ShadowScore(
            id=shadow_id(offer.aside.version.version, request.id),
            request_id=request.id,
            task=request.task,
            thread=request.thread,
            target=request.target,
            excerpt=result.excerpt,
            answered_by=result.model_version,
            label=result.label,
            shadowed_by=offer.aside.version.version,
            shadow_label=label,
            error=error,
            cost_ms=round(offer.by.cost_ms, 3),
            shadow_cost_ms=round(offer.aside.cost_ms, 3),
            dropped=self.dropped,
            scored_at=datetime.now(UTC),
        )
        return Message.of(SHADOW, request.thread.encode(), score, self._service)


def _score(batch: list[Offer]) -> list[tuple[str, str]]:
    """Label and error of each, in order; a batch that fails is asked one by one."""
    found: list[tuple[str, str]] = []
    for _, group in groupby(batch, key=lambda one: id(one.aside)):
        offers = list(group)
        driver = offers[0].aside.driver
        try:
            encodings = driver.tokenize(
                [one.request.text for one in offers], [one.request.target for one in offers]
            )
            said = zip(encodings, driver.forward(encodings), strict=True)
            labels = [driver.post(*one).label for one in said]
        except (DriverError, Unanswerable) as error:
            found += (
                [("", str(error))] if len(offers) == 1 else [_score([one])[0] for one in offers]
            )
        else:
            found += [(label, "") for label in labels]
    return found


def _step_back() -> None:
    """Give the thread the least priority, where threads have one of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
