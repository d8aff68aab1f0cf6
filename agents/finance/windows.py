"""Trailing windows over event time, kept as buckets so that their size is bounded.

Time is cut into buckets of each window's grain. A window ends with the bucket of
the newest event time and covers its length; the one before it is kept as well, for
momentum. An event counts in the bucket of its own time, whenever it arrives. What
is older than both windows counts nowhere; since time only moves on, the windows
depend on the set of events alone and not on the order in which they arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agents.finance.scoring import MICRO, Scored
from schemas.events import TrendWindow

Bucket = tuple[int, int, int, int]
"""Counts of positive, neutral and negative results, and the sum of scores in millionths."""
Buckets = dict[int, Bucket]
"""By number of the bucket since 1970."""

_EMPTY: Final[Bucket] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Span:
    """A window: its name, how many buckets it has and how long each is."""

    name: str
    grain_ms: int
    buckets: int


SPANS: Final = (
    Span("5m", 15_000, 20),
    Span("1h", 180_000, 20),
    Span("1d", 3_600_000, 24),
)


def add(span: Span, buckets: Buckets, event: Scored, as_of_ms: int) -> Buckets:
    """`buckets` with `event`, without those that are too old at `as_of_ms`."""
    oldest = as_of_ms // span.grain_ms - 2 * span.buckets + 1
    kept = {number: bucket for number, bucket in buckets.items() if number >= oldest}
    number = event.at_ms // span.grain_ms
    if number >= oldest:
        kept[number] = _plus(kept.get(number, _EMPTY), event)
    return kept


def _plus(bucket: Bucket, event: Scored) -> Bucket:
    positive, neutral, negative, micro = bucket
    return (
        positive + (event.label == "positive"),
        neutral + (event.label == "neutral"),
        negative + (event.label == "negative"),
        micro + event.micro,
    )


def view(span: Span, buckets: Buckets, as_of_ms: int) -> TrendWindow:
    """The window that ends at `as_of_ms`."""
    first = as_of_ms // span.grain_ms - span.buckets + 1
    positive = neutral = negative = micro = before_count = before_micro = 0
    for number, (up, flat, down, total) in buckets.items():
        if number >= first:
            positive += up
            neutral += flat
            negative += down
            micro += total
        elif number >= first - span.buckets:
            before_count += up + flat + down
            before_micro += total
    return window((positive, neutral, negative, micro), before_count, before_micro)


def window(sums: Bucket, before_count: int, before_micro: int) -> TrendWindow:
    """A window from its sums and those before it; momentum is 0 where either is empty."""
    positive, neutral, negative, micro = sums
    count = positive + neutral + negative
    mean = micro / count / MICRO if count else 0.0
    before = before_micro / before_count / MICRO if before_count else 0.0
    return TrendWindow(
        count=count,
        positive=positive,
        neutral=neutral,
        negative=negative,
        mean=mean,
        momentum=mean - before if count and before_count else 0.0,
    )


def recompute(events: Iterable[Scored]) -> dict[str, tuple[int, dict[str, TrendWindow]]]:
    """By ticker, the newest event time and its windows, straight from the definition.

    It holds all events in memory and knows no buckets but their borders: the
    yardstick for what the agent keeps incrementally.
    """
    by_ticker: dict[str, list[Scored]] = {}
    for event in events:
        by_ticker.setdefault(event.ticker, []).append(event)
    found = {}
    for ticker, all_events in by_ticker.items():
        as_of = max(event.at_ms for event in all_events)
        windows = {span.name: _from_events(span, all_events, as_of) for span in SPANS}
        found[ticker] = (as_of, windows)
    return found


def _from_events(span: Span, events: list[Scored], as_of_ms: int) -> TrendWindow:
    length = span.grain_ms * span.buckets
    end = (as_of_ms // span.grain_ms + 1) * span.grain_ms
    inside = [event for event in events if end - length <= event.at_ms < end]
    before = [event for event in events if end - 2 * length <= event.at_ms < end - length]
    labels = [event.label for event in inside]
    return window(
        (
            labels.count("positive"),
            labels.count("neutral"),
            labels.count("negative"),
            sum(event.micro for event in inside),
        ),
        len(before),
        sum(event.micro for event in before),
    )
