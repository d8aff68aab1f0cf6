"""The load on the console: events with the answers that services would give to them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from proof.bench import texts
from proof.bench.stand import Stand
from proof.bench.texts import Question
from schemas.events import (
    Cause,
    FeedEvent,
    KernelRequest,
    KernelResult,
    KernelTimings,
    Trend,
    TrendWindow,
)
from schemas.ids import emission_id, result_id
from schemas.tasks import SENTIMENT
from schemas.topics import FEED_EVENTS, REQUESTS, RESULTS, TRENDS
from streams import cluster
from streams.message import Message

EVENTS_PER_S: Final = 2_000.0
_LABELS: Final = ("negative", "neutral", "positive")


class Load:
    """Events with the answers that services would give to them."""

    def __init__(self, where: Stand) -> None:
        self._where = where
        self._asked = texts.made_up(2_000)
        self._number = 0
        self._now = datetime.now(UTC)
        self.ticker = self._asked[0].ticker

    async def history(self, count: int) -> None:
        """Results of the last days, `count` of them."""
        producer = cluster.producer(self._where.settings, linger_ms=20)
        await producer.start()
        last: Any = None
        try:
            for number in range(count):
                at = self._now - timedelta(seconds=(count - number) * 0.2)
                last = await self._result(self._next(), at).send(producer)
                if number % 1_000 == 0:
                    await asyncio.sleep(0)
            if last is not None:
                await last
        finally:
            await producer.stop()

    def whole(self) -> list[Message]:
        """An event, its request, its result and its trend."""
        number, asked = self._next()
        name, at = f"load-{number}", datetime.now(UTC)
        event = FeedEvent(
            id=name, text=asked.text, tickers=[asked.ticker], source="bench", published_at=at
        )
        request = KernelRequest(
            id=f"{name}-r",
            task=SENTIMENT.name,
            text=asked.text,
            thread=asked.ticker,
            target=asked.target,
            published_at=at,
        )
        key = asked.ticker.encode()
        return [
            Message.of(FEED_EVENTS, name.encode(), event, "bench"),
            Message.of(REQUESTS["standard"], key, request, "bench"),
            self._result((number, asked), at),
            Message.of(TRENDS, key, _trend(number, asked, at), "bench"),
        ]

    def result(self) -> tuple[str, Message]:
        """One result, now, and the id of the request that it answers."""
        what = self._next()
        return f"load-{what[0]}-r", self._result(what, datetime.now(UTC))

    async def send(self, events: Sequence[list[Message]], seconds: float) -> tuple[int, float]:
        """Send `events` in turn, at the full rate; how many, and in how many seconds."""
        producer = cluster.producer(self._where.settings, linger_ms=20)
        await producer.start()
        began, sent = time.monotonic(), 0
        due = itertools.cycle(events)
        try:
            while (now := time.monotonic() - began) < seconds:
                while sent < int(now * EVENTS_PER_S):
                    for message in next(due):
                        await message.send(producer)
                    sent += 1
                await asyncio.sleep(0.02)
            await producer.flush()
        finally:
            await producer.stop()
        return sent, time.monotonic() - began

    def _next(self) -> tuple[int, Question]:
        self._number += 1
        return self._number, self._asked[self._number % len(self._asked)]

    def _result(self, what: tuple[int, Question], at: datetime) -> Message:
        number, asked = what
        name = f"load-{number}-r"
        sure = 0.4 + 0.6 * random.Random(number).random()
        label = _LABELS[number % 3]
        scores = {one: sure if one == label else (1 - sure) / 2 for one in _LABELS}
        body = KernelResult(
            id=result_id(name),
            request_id=name,
            task=SENTIMENT.name,
            thread=asked.ticker,
            label=label,
            scores=scores,
            model_version="bench-1",
            precision="int8",
            excerpt=asked.text[:200],
            target=asked.target,
            published_at=at,
            cause=Cause("finance.reader", FEED_EVENTS.name, number % 4, number, 0),
            timings=KernelTimings(queued_ms=3.0, forward_ms=9.0),
        )
        return Message.of(RESULTS, asked.ticker.encode(), body, "bench")


def _trend(number: int, asked: Question, at: datetime) -> Trend:
    window = TrendWindow(count=9, positive=3, neutral=3, negative=3, mean=0.0, momentum=0.0)
    cause = Cause("finance.trends", RESULTS.name, number % 4, number, 0)
    return Trend(
        id=emission_id(cause),
        ticker=asked.ticker,
        as_of=at,
        windows={"5m": window, "1h": window, "1d": window},
        late=False,
        cause=cause,
    )
