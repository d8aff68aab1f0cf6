"""Alternated measuring: ceiling, subject, ceiling, subject ...; what counts is the ratios.

The speed of a machine drifts, and other work on it comes and goes. A ratio of two
figures that were taken one after the other hardly feels it, and the median of
several such ratios feels one disturbed round not at all.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def alternated(
    count: int, first: Callable[[int], Awaitable[A]], second: Callable[[int], Awaitable[B]]
) -> list[tuple[A, B]]:
    """Run `first` and `second` in turn, `count` times; each is told the number of its round."""
    return [(await first(number), await second(number)) for number in range(count)]


def compared(below: Sequence[float], above: Sequence[float]) -> dict[str, Any]:
    """The ratios `above[i] / below[i]`: each, their median, mean, least and greatest."""
    ratios = [over / under for under, over in zip(below, above, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_mean": round(statistics.mean(ratios), 3),
        "ratio_least": round(min(ratios), 3),
        "ratio_greatest": round(max(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
    }


def median(values: Sequence[float]) -> float:
    """The median, to one decimal place."""
    return round(statistics.median(values), 1)
