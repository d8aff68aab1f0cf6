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
from typing import Any, Final

from agents.finance.reader import Reader as FinanceReader
from kernel.service import SERVICE
from proof.bench import answers, facts, texts
from proof.bench.answers import Answer
from proof.bench.kernel import Wanted
from proof.bench.open_loop import WARM_UP_S, Load, Stream, Way, event, read, unpaused
from proof.bench.stand import (
    Say,
    Service,
    Stand,
    agent_works,
    lanes_open,
    requests,
    stand,
)
from proof.bench.texts import Question
from proof.bench.transactions import skip
from schemas.ids import group_id
from schemas.topics import REQUESTS
from streams import cluster

LIKE_PEERS_PER_S: Final = 60.0
INTERACTIVE_PER_S: Final = 20.0
HOT_LOAD: Final = 0.7
HOT_SHARE: Final = 0.9
COMMIT_INTERVALS_MS: Final = (10, 40, 100, 200)
_LINGER_S: Final = 20.0
"""How long answers are awaited after the last send; what is missing then is said."""
_HOT: Final = "HOT"
_HALVINGS: Final = 4
_BEHIND_MS: Final = 500.0
"""What is offered 3 % too much is later than this after 20 s, and ever later."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    feed: Path | None = None
    precision: Wanted = "auto"
    seconds: float = 25.0
    burst: int = 3_000
    backlog: int = 50_000
    commit_intervals_ms: Sequence[int] = COMMIT_INTERVALS_MS


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
            [event(f"{run}-{number}", one) for number, one in enumerate(asked)]
            if way == "feed"
            else requests(run, asked, way)[1]
        )
        async with answers.reader(self.where.settings) as reader:
            await self.where.publish(messages)
            seen = await reader.collect(len(asked))
        found = answers.rate([one.written for one in seen])
        self._say(f"capacity by {way}: {found} answers/s")
        return found

    async def sustained(self, way: Way, burst: float) -> float:
        """The most that is kept up with: events a second that come one by one, for long.

        Sustainable throughput (Karimov et al., 2018): the highest rate at which latency does
        not grow as time passes. Found by halving, within 3 % of the rate of a burst.
        """
        kept, low, high = 0.0, 0.5, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            found = await self.case("kept up with?", Load(way, share * burst))
            if found["unanswered"] or found["last_quarter_p50"] > _BEHIND_MS:
                high = share
            else:
                kept, low = share * burst, share
        self._say(f"kept up with: {kept:.1f} events/s")
        return round(kept, 1)

    async def case(self, name: str, *loads: Load, seconds: float | None = None) -> dict[str, Any]:
        """Offer the loads together; latencies of each, and what was never answered."""
        self._cases += 1
        seconds = seconds or self._plan.seconds
        streams = [
            Stream(f"case{self._cases}.{number}", load, seconds + WARM_UP_S, self.texts)
            for number, load in enumerate(loads)
        ]
        producer = cluster.producer(self.where.settings)
        await producer.start()
        try:
            async with answers.reader(self.where.settings) as reader:
                reading = asyncio.create_task(read(reader, streams))
                with unpaused():
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


async def main(model: Path, folder: Path, say: Say, plan: Plan) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench latency` prints them."""
    async with stand(folder, say) as where:
        await where.announce(model)
        bench = Bench(where, plan, say)
        figures = await _by_feed(bench)
        capacity = figures["capacity_per_s"]
        async with bench.kernel():
            figures |= await _hot_key(bench, figures["sustained_per_s"])
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
        sustained = await bench.sustained("feed", capacity)
        return {
            "capacity_per_s": capacity,
            "sustained_per_s": sustained,
            "at_60_per_s": await bench.case("60/s", Load("feed", LIKE_PEERS_PER_S)),
            "kernel_at_60_per_s": await bench.case("60/s", Load("standard", LIKE_PEERS_PER_S)),
            "at_50_percent": await bench.case("50 %", Load("feed", 0.5 * sustained)),
            "at_80_percent": await bench.case("80 %", Load("feed", 0.8 * sustained)),
            "at_half_a_burst": await bench.case("50 % of a burst", Load("feed", 0.5 * capacity)),
        }


async def _hot_key(bench: Bench, sustained: float) -> dict[str, Any]:
    total = HOT_LOAD * sustained
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
