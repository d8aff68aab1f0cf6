"""`headrace bench soak`: a long run at 70 % load with model swaps and a cache that churns.

What is looked for is what a short run does not show: memory that grows, and latency
that drifts. A fifth of the texts are repeats, the cache is too small for the others,
and two versions of the model replace each other as live.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proof.bench import answers, facts, texts
from proof.bench.kernel import Wanted
from proof.bench.latency import Bench, Plan
from proof.bench.percentiles import offer, schedule, summary
from proof.bench.stand import Say, Service, Stand, lanes_open, request, stand
from proof.bench.texts import Question
from proof.beside import beside
from schemas.events import ModelVersion
from schemas.topics import REQUESTS
from streams import cluster

LOAD: Final = 0.7
CACHE_MB: Final = 2
REPEATS: Final = 0.2
RECENT: Final = 2_000
"""Repeats are of one of so many last texts."""
WARM_UP: Final = 0.25
"""Share of the run after which memory and latency are held to what they are then."""
SPANS: Final = 12
SWAPS: Final = 16
"""Of the run, evenly spread: both versions are loaded long before the warm-up ends."""
LINGER_S: Final = 30.0
NEAR_SWAP_S: Final = (-0.5, 1.5)
"""What was to be sent in this span around a promotion counts as near the swap."""
BEFORE_SWAP_S: Final = (-8.0, -2.0)
"""What near ones are compared with."""


@dataclass(slots=True)
class _Watch:
    """What was seen: latencies by when they were sent, memory by when it was looked at."""

    intended: dict[str, float] = field(default_factory=dict)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """(Seconds into the run at which it was to be sent, ms)."""
    kernel_mb: list[tuple[float, float]] = field(default_factory=list)
    broker_mb: list[tuple[float, float]] = field(default_factory=list)
    duplicates: int = 0
    cached: int = 0
    versions: set[str] = field(default_factory=set)
    swapped: list[float] = field(default_factory=list)
    """When each promotion began, on the monotonic clock."""


async def main(
    model: Path,
    folder: Path,
    say: Say,
    *,
    feed: Path | None = None,
    minutes: float = 20.0,
    precision: Wanted = "auto",
    burst: int = 3_000,
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench soak` prints them."""
    environment = {"HEADRACE_PRECISION": precision, "HEADRACE_CACHE_MB": str(CACHE_MB)}
    async with stand(folder, say) as where:
        bench = Bench(where, Plan(feed=feed, precision=precision, burst=burst), say)
        asked = bench.texts(5_000)
        versions = [await where.announce(model, name) for name in ("soak-1", "soak-2")]
        async with where.kernel(environment) as kernel:
            await lanes_open(kernel, len(REQUESTS) * where.settings.partitions)
            capacity = await bench.capacity("standard")
            kept = await bench.sustained("standard", capacity)
            say(f"kept up with: {kept} texts/s; {minutes:g} minutes at {LOAD:.0%} of it")
            times = schedule(LOAD * kept, minutes * 60, texts.SEED)
            watch = _Watch()
            async with (
                answers.reader(where.settings) as reader,
                beside(
                    _read(reader, watch),
                    _look(kernel, where, watch),
                    _swap(where, versions, minutes * 60 / SWAPS, watch),
                ),
            ):
                began = await _feed(where, asked, times, watch, say)
                with contextlib.suppress(TimeoutError):
                    await answers.until(lambda: not watch.intended, LINGER_S, "answers")
            readings = await kernel.readings()
    return {
        "machine": facts.machine(),
        "minutes": minutes,
        "capacity_per_s": capacity,
        "sustained_per_s": kept,
        "offered_per_s": round(len(times) / (minutes * 60), 1),
        "sent": len(times),
        "lost": len(watch.intended),
        "duplicates": watch.duplicates,
        "cached": watch.cached,
        "swaps": SWAPS,
        "versions_seen": sorted(watch.versions),
        "cache_mb": CACHE_MB,
        "cache_hits": int(readings.total("headrace_kernel_cache_hits_total")),
        "swap_delay": _swap_delay(watch),
        **_drift(watch, began, minutes * 60),
    }


async def _feed(
    where: Stand, asked: Sequence[Question], times: Sequence[float], watch: _Watch, say: Say
) -> float:
    chance = random.Random(texts.SEED)
    recent: deque[Question] = deque(maxlen=RECENT)
    producer = cluster.producer(where.settings)
    await producer.start()
    began = time.monotonic()

    async def send(number: int, intended: float) -> None:
        if recent and chance.random() < REPEATS:
            one = recent[chance.randrange(len(recent))]
        else:
            base = asked[number % len(asked)]
            one = Question(f"{number} {base.text}", base.target, base.ticker)
            recent.append(one)
        watch.intended[f"soak-{number}"] = intended
        await request(f"soak-{number}", one).send(producer)
        if number and number % max(1, len(times) // 20) == 0:
            say(f"{number} of {len(times)} sent, {len(watch.intended)} not answered yet")

    try:
        await offer(times, send)
        await producer.flush()
    finally:
        await producer.stop()
    return began


async def _read(reader: answers.Reader, watch: _Watch) -> None:
    while True:
        for seen in await reader.next():
            answer = seen.answer
            intended = watch.intended.pop(answer.request_id, None)
            if intended is None:
                watch.duplicates += answer.request_id.startswith("soak-")
                continue
            watch.latencies.append((intended, (seen.at - intended) * 1000))
            watch.cached += answer.cached
            watch.versions.add(answer.model_version)


async def _look(kernel: Service, where: Stand, watch: _Watch) -> None:
    while True:
        now = time.monotonic()
        watch.kernel_mb.append((now, kernel.rss_mb()))
        watch.broker_mb.append((now, facts.resident_mb(where.broker.pid)))
        await asyncio.sleep(1)


async def _swap(
    where: Stand, versions: Sequence[ModelVersion], every_s: float, watch: _Watch
) -> None:
    number = 0
    while True:
        await asyncio.sleep(every_s)
        watch.swapped.append(time.monotonic())
        await where.promote(versions[number % len(versions)])
        number += 1


def _swap_delay(watch: _Watch) -> dict[str, Any]:
    """Latencies of what was sent around a promotion, against those of the same time without one."""

    def around(span: tuple[float, float]) -> dict[str, Any]:
        ms = [
            late
            for at, late in watch.latencies
            if any(span[0] <= at - swap < span[1] for swap in watch.swapped)
        ]
        return summary(ms, histogram=False)

    near, before = around(NEAR_SWAP_S), around(BEFORE_SWAP_S)
    return {
        "near_ms": near,
        "before_ms": before,
        "p99_more_ms": round(near["p99"] - before["p99"], 1),
    }


def _drift(watch: _Watch, began: float, seconds: float) -> dict[str, Any]:
    warm = WARM_UP * seconds
    spans = []
    for span in range(SPANS):
        low, high = (began + seconds * edge / SPANS for edge in (span, span + 1))
        ms = [late for at, late in watch.latencies if low <= at < high]
        kernel = [mb for at, mb in watch.kernel_mb if low <= at < high]
        broker = [mb for at, mb in watch.broker_mb if low <= at < high]
        spans.append(
            {
                "from_s": round(seconds * span / SPANS, 1),
                **summary(ms, histogram=False),
                "kernel_mb": round(statistics.mean(kernel), 1) if kernel else 0.0,
                "broker_mb": round(statistics.mean(broker), 1) if broker else 0.0,
            }
        )
    later = [one for one in spans if one["from_s"] >= warm]
    half = max(1, len(later) // 2)
    early, late = later[:half], later[-half:]
    return {
        "kernel_mb_after_warm_up": later[0]["kernel_mb"],
        "kernel_mb_at_the_end": later[-1]["kernel_mb"],
        "memory_growth": _growth([later[0]["kernel_mb"]], [later[-1]["kernel_mb"]]),
        "broker_growth": _growth([later[0]["broker_mb"]], [later[-1]["broker_mb"]]),
        "p50_drift": _growth([one["p50"] for one in early], [one["p50"] for one in late]),
        "p99_drift": _growth([one["p99"] for one in early], [one["p99"] for one in late]),
        "spans": spans,
    }


def _growth(before: Sequence[float], after: Sequence[float]) -> float:
    base = statistics.median(before)
    return round(statistics.median(after) / base - 1, 4) if base else 0.0
