"""What a service tells about itself: its Prometheus endpoint, read once."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from streams import exposition, metrics
from streams.metrics import Metric


@dataclass(frozen=True)
class Readings:
    """Samples by name, each with its labels."""

    samples: dict[str, list[tuple[dict[str, str], float]]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text format."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        return cls(found)

    def total(self, metric: Metric | str) -> float:
        """Sum over all labels; 0 where nothing was said."""
        name = metric if isinstance(metric, str) else metric.name
        return sum(value for _, value in self.samples.get(name, ()))

    def quantile(self, metric: Metric, share: float) -> float:
        """A quantile of a histogram, linear within its bucket as PromQL does it; 0 of nothing."""
        counts: dict[float, float] = {}
        for labels, value in self.samples.get(f"{metric.name}_bucket", ()):
            edge = float(labels["le"])
            counts[edge] = counts.get(edge, 0.0) + value
        return quantile(sorted(counts.items()), share)


def quantile(cumulative: Iterable[tuple[float, float]], share: float) -> float:
    """From (upper edge, count up to it), ascending, the last edge being infinite."""
    edges = list(cumulative)
    rank = share * edges[-1][1] if edges else 0.0
    below, counted = 0.0, 0.0
    for edge, count in edges:
        if count >= rank > 0:
            if edge == float("inf"):
                return below
            inside = count - counted
            return below + (edge - below) * ((rank - counted) / inside if inside else 1.0)
        below, counted = edge, count
    return 0.0


async def read(port: int) -> Readings:
    """The readings of the service whose endpoint listens on a loopback port.

    Raises:
        OSError: nothing answers there.
    """
    return Readings.parse(await asyncio.to_thread(_get, port))


def _get(port: int) -> str:
    url = f"http://127.0.0.1:{port}{exposition.PATH}"
    request = urllib.request.Request(url, headers={"Accept": exposition.TEXT})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return bytes(answer.read()).decode()


def kernel_figures(readings: Readings) -> dict[str, Any]:
    """What `headrace bench kernel` tells of the kernel's own counters."""
    padded = readings.total(metrics.PADDED_TOKENS)
    return {
        "padding_waste": round(1 - readings.total(metrics.TOKENS) / padded, 3) if padded else 0.0,
        "batches": int(readings.total(metrics.BATCHES)),
        "cache_hits": int(readings.total(metrics.CACHE_HITS)),
        "shared": int(readings.total(metrics.SHARED)),
        "forward_s": round(readings.total(f"{metrics.FORWARD.name}_sum"), 2),
        "commits": int(readings.total(f"{metrics.COMMIT.name}_count")),
        "commit_ms": {
            name: round(readings.quantile(metrics.COMMIT, share) * 1000, 1)
            for name, share in (("p50", 0.5), ("p99", 0.99))
        },
    }
