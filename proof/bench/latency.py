"""`headrace bench latency`: from the intended sending of an event to its readable result.

Open loop: events are sent at times fixed beforehand (`percentiles.offer`), and a
latency runs from that time to the moment at which a read_committed reader has the
result. Through `feed` an event passes `finance.reader` and the kernel; the urgencies
are requests straight to the kernel. The cache is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from agents.finance.reader import Reader as FinanceReader
from kernel.service import SERVICE
from proof.bench import answers, facts, texts
from proof.bench.answers import Answer, Seen
from proof.bench.kernel import Wanted
from proof.bench.percentiles import offer, schedule, summary
from proof.bench.stand import (
    Say,
    Service,
    Stand,
    agent_works,
    lanes_open,
    request,
    requests,
    stand,
)
from proof.bench.texts import Question
from proof.bench.transactions import skip
from schemas.events import FeedEvent
from schemas.ids import group_id
from schemas.topics import FEED_EVENTS, REQUESTS, Urgency
from streams import cluster
from streams.message import Message

Way = Literal["feed"] | Urgency

LIKE_PEERS_PER_S: Final = 60.0
INTERACTIVE_PER_S: Final = 20.0
HOT_LOAD: Final = 0.7
HOT_SHARE: Final = 0.9
COMMIT_INTERVALS_MS: Final = (10, 40, 100, 200)
WARM_UP_S: Final = 2.0
"""Of each case: sent and answered, and left out of the percentiles."""
_LINGER_S: Final = 20.0
"""How long answers are awaited after the last send; what is missing then is said."""
_HOT: Final = "HOT"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    feed: Path | None = None
    precision: Wanted = "auto"
    seconds: float = 25.0
    burst: int = 3_000
    backlog: int = 50_000
    commit_intervals_ms: Sequence[int] = COMMIT_INTERVALS_MS


@dataclass(frozen=True, slots=True)
class Load:
    """One stream of events: its way in, its rate, and its only thread (None: many)."""

    way: Way
    per_s: float
    thread: str | None = None


class Bench:
    """Cases on one stand; each takes texts of its own."""

    def __init__(self, where: Stand, plan: Plan, say: Say) -> None:
        self.where = where
        self._plan = plan
        self._say = say
        self._used = 0
        self._cases = 0

    @asynccontextmanager
    async def kernel(self, **settings: str) -> AsyncIterator[Service]:
        """A kernel whose lanes are open."""
        given = {"HEADRACE_PRECISION": self._plan.precision, **settings}
        async with self.where.kernel(given) as kernel:
            await lanes_open(kernel, len(REQUESTS) * self.where.settings.partitions)
            yield kernel

    def texts(self, count: int) -> list[Question]:
        """Questions that no case has asked."""
        self._used += count
        return texts.questions(self._plan.feed, count, skip=self._used - count)

    async def capacity(self, way: Way) -> float:
        """Answers a second to a burst that is published at once."""
        self._cases += 1
        asked = self.texts(self._plan.burst)
        run = f"burst{self._cases}"
        messages = (
            [_event(f"{run}-{number}", one) for number, one in enumerate(asked)]
            if way == "feed"
            else requests(run, asked, way)[1]
        )
        async with answers.reader(self.where.settings) as reader:
            await self.where.publish(messages)
            seen = await reader.collect(len(asked))
        found = answers.rate([one.written for one in seen])
        self._say(f"capacity by {way}: {found} answers/s")
        return found

    async def case(self, name: str, *loads: Load, seconds: float | None = None) -> dict[str, Any]:
        """Offer the loads together; latencies of each, and what was never answered."""
        self._cases += 1
        seconds = seconds or self._plan.seconds
        streams = [
            _Stream(f"case{self._cases}.{number}", load, seconds + WARM_UP_S, self)
            for number, load in enumerate(loads)
        ]
        producer = cluster.producer(self.where.settings)
        await producer.start()
        try:
            async with answers.reader(self.where.settings) as reader:
                reading = asyncio.create_task(_read(reader, streams))
                await asyncio.gather(*(one.send(producer) for one in streams))
                await asyncio.wait([reading], timeout=_LINGER_S)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        finally:
            await producer.stop()
        found = [one.figures() for one in streams]
        for one in found:
            self._say(
                f"{name} ({one['way']}, {one['offered_per_s']}/s): "
                f"p50 {one['p50']} ms, p99 {one['p99']} ms"
            )
        return found[0] if len(found) == 1 else {"streams": found}


class _Stream:
    """One load on its way: what was sent when, and what came back."""

    def __init__(self, run: str, load: Load, seconds: float, bench: Bench) -> None:
        self._run = run
        self._load = load
        self._times = schedule(load.per_s, seconds, seed=len(run) + int(load.per_s))
        self._messages = [
            _message(f"{run}-{number}", one, load)
            for number, one in enumerate(bench.texts(len(self._times)))
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
        counted = [ms for name, ms in latencies.items() if self._intended[name] >= began]
        return {
            "way": self._load.way,
            "offered_per_s": round(self._load.per_s, 1),
            **summary(counted),
            "unanswered": len(self._messages) - len(latencies),
            "sent_late_ms_p99": summary(self._late_ms, histogram=False)["p99"],
        }

    def _name(self, answer: Answer) -> str | None:
        if self._load.way != "feed":
            return answer.request_id
        cause = answer.cause
        return None if cause is None else self._places.get((cause.partition, cause.offset))


async def _read(reader: answers.Reader, streams: Sequence[_Stream]) -> None:
    ended = [False] * len(streams)
    while not all(ended):
        for seen in await reader.next():
            ended = [one.take(seen) for one in streams]


async def main(model: Path, folder: Path, say: Say, plan: Plan) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench latency` prints them."""
    async with stand(folder, say) as where:
        await where.announce(model)
        bench = Bench(where, plan, say)
        figures = await _by_feed(bench)
        capacity = figures["capacity_per_s"]
        async with bench.kernel():
            figures |= await _hot_key(bench, capacity)
        figures["commit_intervals"] = await _trade(bench, plan.commit_intervals_ms)
        async with bench.kernel() as kernel:
            figures |= await _backlog(bench, kernel, plan, capacity)
        await skip(where, group_id(SERVICE))
    return {
        "machine": facts.machine(),
        "commit_interval_ms": where.settings.commit_interval_ms,
        "seconds_of_a_case": plan.seconds,
        **figures,
    }


async def _by_feed(bench: Bench) -> dict[str, Any]:
    async with (
        bench.kernel(),
        bench.where.service("agent", FinanceReader.name) as reader,
    ):
        await agent_works(reader)
        capacity = await bench.capacity("feed")
        return {
            "capacity_per_s": capacity,
            "at_60_per_s": await bench.case("60/s", Load("feed", LIKE_PEERS_PER_S)),
            "kernel_at_60_per_s": await bench.case("60/s", Load("standard", LIKE_PEERS_PER_S)),
            "at_50_percent": await bench.case("50 %", Load("feed", 0.5 * capacity)),
            "at_80_percent": await bench.case("80 %", Load("feed", 0.8 * capacity)),
        }


async def _hot_key(bench: Bench, capacity: float) -> dict[str, Any]:
    total = HOT_LOAD * capacity
    others = Load("standard", (1 - HOT_SHARE) * total)
    hot = Load("standard", HOT_SHARE * total, _HOT)
    alone = await bench.case("without hot key", others)
    both = await bench.case("hot key", others, hot)
    with_it, itself = both["streams"]
    return {
        "hot_key": {
            "load": HOT_LOAD,
            "share": HOT_SHARE,
            "others_alone": alone,
            "others": with_it,
            "hot": itself,
            "p99_ratio": _ratio(with_it["p99"], alone["p99"]),
        }
    }


async def _trade(bench: Bench, intervals_ms: Sequence[int]) -> list[dict[str, Any]]:
    rows = []
    for interval in intervals_ms:
        async with bench.kernel(HEADRACE_COMMIT_INTERVAL_MS=str(interval)) as kernel:
            per_s = await bench.capacity("standard")
            busy = await kernel.readings()
            found = await bench.case(f"commit interval {interval} ms", Load("standard", 60.0))
            rows.append(
                {
                    "commit_interval_ms": interval,
                    "per_s": per_s,
                    "commits_of_the_burst": int(busy.total("headrace_lane_commit_seconds_count")),
                    "p50": found["p50"],
                    "p99": found["p99"],
                }
            )
    return rows


async def _backlog(bench: Bench, kernel: Service, plan: Plan, capacity: float) -> dict[str, Any]:
    load = Load("interactive", INTERACTIVE_PER_S)
    alone = await bench.case("interactive alone", load)
    messages = requests("bulk", bench.texts(plan.backlog), "bulk")[1]
    await bench.where.publish(messages)
    async with answers.reader(bench.where.settings) as reader:
        counting = asyncio.create_task(_count(reader, lambda one: one.request_id[:5] == "bulk-"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        behind = await bench.case("interactive behind a bulk backlog", load)
        seconds = loop.time() - began
        counting.cancel()
        bulk = (await asyncio.gather(counting, return_exceptions=True))[0]
    readings = await kernel.readings()
    batches = readings.total("headrace_kernel_batches_total")
    batch_ms = 1000 * readings.total("headrace_kernel_forward_seconds_sum") / max(1, batches)
    assert isinstance(bulk, int)  # noqa: S101
    return {
        "backlog": {
            "requests": plan.backlog,
            "alone": alone,
            "behind": behind,
            "mean_batch_ms": round(batch_ms, 1),
            "p99_bound_ms": round(1.5 * alone["p99"] + batch_ms, 1),
            "bulk_per_s": round(bulk / seconds, 1),
            "bulk_share_of_capacity": _ratio(bulk / seconds, capacity),
        }
    }


async def _count(reader: answers.Reader, ours: Callable[[Answer], bool]) -> int:
    found = 0
    try:
        while True:
            found += sum(ours(one.answer) for one in await reader.next())
    except asyncio.CancelledError:
        return found


def _ratio(over: float, under: float) -> float:
    return round(over / under, 3) if under else 0.0


def _message(name: str, asked: Question, load: Load) -> Message:
    if load.thread is not None:
        asked = Question(asked.text, asked.target, load.thread)
    return _event(name, asked) if load.way == "feed" else request(name, asked, load.way)


def _event(name: str, asked: Question) -> Message:
    """An event about one company, which asks one question."""
    event = FeedEvent(id=name, text=asked.text, tickers=[asked.ticker], source="bench")
    return Message.of(FEED_EVENTS, name.encode(), event, "bench")
