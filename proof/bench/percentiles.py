"""Latencies as percentiles and as a histogram, and the open loop that offers the load.

Requests are sent at times that are fixed beforehand, whatever the answers do, and a
latency counts from the intended time: a system that stalls makes those that wait for
it late too, and they are counted (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
_STEPS: Final = 4
"""Buckets in each doubling: an edge is 19 % above the last one."""


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); 0 of none."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def summary(latencies_ms: Sequence[float], *, histogram: bool = True) -> dict[str, Any]:
    """Count, mean, percentiles, largest, and the buckets as [upper edge in ms, count]."""
    ascending = sorted(latencies_ms)
    found: dict[str, Any] = {
        "count": len(ascending),
        "mean": round(sum(ascending) / len(ascending), 2) if ascending else 0.0,
        **{name: round(percentile(ascending, share), 2) for name, share in SHARES.items()},
        "max": round(ascending[-1], 2) if ascending else 0.0,
    }
    if histogram:
        found["histogram"] = buckets(ascending)
    return found


def buckets(latencies_ms: Sequence[float]) -> list[tuple[float, int]]:
    """Counts by bucket, ascending; edges rise by a fourth of a doubling, from 1 ms."""
    counts = Counter(math.ceil(_STEPS * math.log2(max(1.0, one))) for one in latencies_ms)
    return [(round(2 ** (step / _STEPS), 3), counts[step]) for step in sorted(counts)]


def schedule(per_s: float, seconds: float, seed: int) -> list[float]:
    """Arrivals at random (Poisson): seconds from the beginning, ascending."""
    chance = random.Random(seed)
    times: list[float] = []
    at = chance.expovariate(per_s)
    while at < seconds:
        times.append(at)
        at += chance.expovariate(per_s)
    return times


async def offer(
    times: Sequence[float], send: Callable[[int, float], Awaitable[None]]
) -> list[float]:
    """Call `send(number, intended time)` at each time; how late each call was, in ms.

    Times of the result are on the monotonic clock. What should have been sent already
    goes at once, under the time at which it should have gone.
    """
    began = time.monotonic()
    late: list[float] = []
    for number, at in enumerate(times):
        intended = began + at
        pause = intended - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        late.append(max(0.0, time.monotonic() - intended) * 1000)
        await send(number, intended)
    return late
