"""What the engine counts, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from kernel.engine import Engine
from streams import metrics
from streams.metrics import Sample


def engine_samples(engine: Engine) -> Iterator[Sample]:
    """The readings of one engine."""
    stats = engine.stats
    yield Sample(metrics.BATCHES, stats.batches)
    yield Sample(metrics.TOKENS, stats.tokens)
    yield Sample(metrics.PADDED_TOKENS, stats.padded_tokens)
    yield Sample(metrics.FORWARD, stats.forward_s)
    yield Sample(metrics.CACHE_HITS, engine.cache.hits)
    yield Sample(metrics.SHARED, stats.shared)
    yield Sample(metrics.EXPIRED, stats.expired)
    yield Sample(metrics.QUEUED, stats.queued)
