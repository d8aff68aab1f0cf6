"""Streams of events in an open loop: what was sent when, and when its answer could be read.

Events are sent at times fixed beforehand (`percentiles.offer`), and a latency runs from
that time to the moment at which a read_committed reader has the result.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from agents.finance.reader import Reader as FinanceReader
from proof.bench import answers
from proof.bench.answers import Answer, Seen
from proof.bench.percentiles import offer, percentile, schedule, summary
from proof.bench.stand import request
from proof.bench.texts import Question
from schemas.events import FeedEvent
from schemas.topics import FEED_EVENTS, Urgency
from streams.message import Message

Way = Literal["feed"] | Urgency

WARM_UP_S: Final = 2.0
"""Of each stream: sent and answered, and left out of the percentiles."""


@dataclass(frozen=True, slots=True)
class Load:
    """One stream of events: its way in, its rate, and its only thread (None: many)."""

    way: Way
    per_s: float
    thread: str | None = None


Take = Callable[[int], Sequence[Question]]
"""Gives so many questions that were not asked before."""


class Stream:
    """One load on its way: what was sent when, and what came back."""

    def __init__(self, run: str, load: Load, seconds: float, take: Take) -> None:
        self._run = run
        self._load = load
        self._times = schedule(load.per_s, seconds, seed=len(run) + int(load.per_s))
        self._messages = [
            _message(f"{run}-{number}", one, load)
            for number, one in enumerate(take(len(self._times)))
        ]
        self._intended: dict[str, float] = {}
        self._places: dict[tuple[int, int], str] = {}
        self._seen: list[Seen] = []
        self._late_ms: list[float] = []

    async def send(self, producer: Any) -> None:
        """Send all at their times."""

        async def one(number: int, intended: float) -> None:
            name = f"{self._run}-{number}"
            self._intended[name] = intended
            delivery = await self._messages[number].send(producer)
            delivery.add_done_callback(lambda done: self._placed(name, done))

        self._late_ms = await offer(self._times, one)

    def _placed(self, name: str, delivery: asyncio.Future[Any]) -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            done = delivery.result()
            self._places[done.partition, done.offset] = name

    def claims(self, answer: Answer) -> bool:
        """Whether an answer may be to one of ours."""
        if self._load.way == "feed":
            return answer.cause is not None and answer.cause.agent == FinanceReader.name
        return answer.request_id.startswith(f"{self._run}-")

    def take(self, seen: Seen) -> bool:
        """Keep an answer; whether all are answered now."""
        if self.claims(seen.answer):
            self._seen.append(seen)
        return len(self._seen) >= len(self._messages)

    def figures(self) -> dict[str, Any]:
        """Percentiles, of what was sent after the warm-up."""
        latencies: dict[str, float] = {}
        for one in self._seen:
            name = self._name(one.answer)
            if name is not None:
                latencies[name] = (one.at - self._intended[name]) * 1000
        began = min(self._intended.values(), default=0.0) + WARM_UP_S
        ended = max(self._intended.values(), default=0.0)
        counted = [ms for name, ms in latencies.items() if self._intended[name] >= began]
        late = ended - (ended - began) / 4
        last = sorted(ms for name, ms in latencies.items() if self._intended[name] >= late)
        return {
            "way": self._load.way,
            "offered_per_s": round(self._load.per_s, 1),
            **summary(counted),
            "last_quarter_p50": round(percentile(last, 0.5), 2),
            "unanswered": len(self._messages) - len(latencies),
            "sent_late_ms_p99": summary(self._late_ms, histogram=False)["p99"],
        }

    def _name(self, answer: Answer) -> str | None:
        if self._load.way != "feed":
            return answer.request_id
        cause = answer.cause
        return None if cause is None else self._places.get((cause.partition, cause.offset))


async def read(reader: answers.Reader, streams: Sequence[Stream]) -> None:
    """Give answers to the streams; returns when each of them has all of its own."""
    ended = [False] * len(streams)
    while not all(ended):
        for seen in await reader.next():
            ended = [one.take(seen) for one in streams]


def _message(name: str, asked: Question, load: Load) -> Message:
    if load.thread is not None:
        asked = Question(asked.text, asked.target, load.thread)
    return event(name, asked) if load.way == "feed" else request(name, asked, load.way)


def event(name: str, asked: Question) -> Message:
    """An event about one company, which asks one question."""
    body = FeedEvent(id=name, text=asked.text, tickers=[asked.ticker], source="bench")
    return Message.of(FEED_EVENTS, name.encode(), body, "bench")


@contextmanager
def unpaused() -> Iterator[None]:
    """Without garbage collections of this process: a pause of the clock is no latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
