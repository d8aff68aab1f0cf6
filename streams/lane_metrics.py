"""What lanes count, summed over the partitions of a service, for `/metrics`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from schemas.errors import ErrorClass
from streams import metrics
from streams.distribution import Distribution
from streams.lane import LaneStats
from streams.lanes import Lanes
from streams.metrics import Sample


def lane_samples(service: str, lanes: Lanes[Any]) -> Iterator[Sample]:
    """The readings of a service's lanes; counters go on where a lane has moved away."""
    stats = list(lanes.stats.values())
    mine = (service,)
    yield Sample(metrics.LANES, len(lanes.owned), mine)
    yield Sample(metrics.LANES_OPENED, sum(one.opened for one in stats), mine)
    yield Sample(metrics.FETCHED, sum(one.fetched for one in stats), mine)
    yield Sample(metrics.MESSAGES, sum(one.messages for one in stats), mine)
    yield Sample(metrics.REPLAYS, sum(one.replays for one in stats), mine)
    yield Sample(metrics.COMMIT, Distribution.sum(one.commit_s for one in stats), mine)
    yield Sample(metrics.IN_FLIGHT, sum(len(one.in_flight) for one in stats), mine)
    yield Sample(metrics.OLDEST, max((_oldest_s(one) for one in stats), default=0.0), mine)
    yield from dead_letter_samples(service, *(one.dead_letters for one in stats))


def dead_letter_samples(service: str, *counters: Counter[str]) -> Iterator[Sample]:
    """Dead letters of a service by error class: all of them, as a rate begins at zero."""
    for error_class in ErrorClass:
        count = sum(counter[error_class] for counter in counters)
        yield Sample(metrics.DEAD_LETTERS, count, (service, error_class.value))


def age_s(timestamp_ms: int | None) -> float:
    """Seconds since a record's own time; a publisher may give it one that is still to come."""
    return 0.0 if timestamp_ms is None else max(0.0, time.time() - timestamp_ms / 1000)


def _oldest_s(stats: LaneStats) -> float:
    try:
        return age_s(stats.in_flight[0].record.timestamp)
    except IndexError:
        return 0.0
