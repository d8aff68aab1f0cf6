"""How long after a fault the system works again, from a history."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proof.chaos.history import Fault, Seen


@dataclass(frozen=True, slots=True)
class Recovered:
    """A fault, and after how many seconds its slowest partition had news."""

    fault: Fault
    seconds: float


def recoveries(faults: Iterable[Fault], committed: Iterable[Seen]) -> list[Recovered]:
    """From each fault to the first committed record that was written after it.

    The record's timestamp is its producer's, and a dead process writes none, so what
    was under way when the fault came does not count. Of the partitions of the watched
    topic the slowest one counts: which of them the target owned is not to be seen
    from outside. A partition that never has news again, since the feed has ended, is
    left out.
    """
    times: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for seen in committed:
        times[seen.topic][seen.partition].append(seen.at)
    for partitions in times.values():
        for stamps in partitions.values():
            stamps.sort()
    found = []
    for fault in faults:
        waits = [
            stamps[index] - fault.began
            for stamps in times.get(fault.watched, {}).values()
            if (index := bisect_right(stamps, fault.began)) < len(stamps)
        ]
        if waits:
            found.append(Recovered(fault, max(waits) / 1000))
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of all do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def summary(found: Iterable[Recovered]) -> dict[str, float | int | None]:
    """Count, median, 99th percentile and maximum, in seconds."""
    seconds = [one.seconds for one in found]
    return {
        "count": len(seconds),
        "p50": percentile(seconds, 0.5),
        "p99": percentile(seconds, 0.99),
        "max": max(seconds, default=None),
    }
