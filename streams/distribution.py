"""A histogram of observations with buckets of exponential width.

The buckets are those of Prometheus' native histograms at schema 3: eight to each doubling,
so that a quantile is right within 5 %. Classic buckets, whose bounds are powers of two,
are sums of them. An observation costs one logarithm and one addition to a dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Self

SCHEMA: Final = 3
PER_DOUBLING: Final = 2**SCHEMA
BOUNDS: Final[Sequence[float]] = tuple(2.0**power for power in range(-12, 8))
"""Upper bounds of the classic buckets, in seconds: 0.24 ms to 128 s."""
ZERO: Final = 2.0**-30
"""What is at most this counts as zero: a nanosecond."""


class Distribution:
    """How often which value was observed, and their sum. One thread observes, any may read."""

    __slots__ = ("_counts", "_zeros", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._zeros = 0
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.total += value
        if value > ZERO:
            index = math.ceil(math.log2(value) * PER_DOUBLING)
            self._counts[index] = self._counts.get(index, 0) + 1
        else:
            self._zeros += 1

    @classmethod
    def sum(cls, parts: Iterable[Distribution]) -> Self:
        """All observations of `parts` together."""
        whole = cls()
        for part in parts:
            for index, count in part.counts().items():
                whole._counts[index] = whole._counts.get(index, 0) + count
            whole._zeros += part.zeros
            whole.total += part.total
        return whole

    @property
    def zeros(self) -> int:
        """Observations of zero."""
        return self._zeros

    @property
    def count(self) -> int:
        """All observations."""
        return self._zeros + sum(self.counts().values())

    def counts(self) -> dict[int, int]:
        """Observations by bucket: number i holds what is above 2^((i-1)/8) and up to 2^(i/8)."""
        return dict(self._counts)

    def buckets(self) -> list[tuple[float, int]]:
        """Upper bound and cumulative count of each classic bucket; the last bound is infinite."""
        counts = sorted(self.counts().items())
        found: list[tuple[float, int]] = []
        below, place = self._zeros, 0
        for bound in BOUNDS:
            last = round(math.log2(bound)) * PER_DOUBLING
            while place < len(counts) and counts[place][0] <= last:
                below += counts[place][1]
                place += 1
            found.append((bound, below))
        return [*found, (math.inf, below + sum(count for _, count in counts[place:]))]
