"""What an agent's executor counts, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.runtime.executor import Executor
from streams import metrics
from streams.lane_metrics import age_s, dead_letter_samples
from streams.metrics import Sample


def executor_samples(service: str, executor: Executor[Any, Any]) -> Iterator[Sample]:
    """The readings of one executor."""
    mine = (service,)
    stats = executor.stats
    yield Sample(metrics.EVENTS, executor.events, mine)
    yield Sample(metrics.CHECKPOINTS, stats.checkpoint_s.count, mine)
    yield Sample(metrics.CHECKPOINT, stats.checkpoint_s, mine)
    yield Sample(metrics.UNDELIVERED, executor.undelivered, mine)
    yield Sample(metrics.WAITING, executor.waiting, mine)
    yield Sample(metrics.OLDEST, age_s(executor.oldest_ms), mine)
    yield from dead_letter_samples(service, stats.dead_letters)
