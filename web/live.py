"""What is going on now: rates, hops, the newest verdicts. Kept once, looked at by every page."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition

from schemas import envelope
from schemas.envelope import Position
from schemas.errors import Unanswerable
from schemas.events import (
    Alert,
    Cause,
    DeadLetter,
    Event,
    FeedEvent,
    KernelRequest,
    KernelResult,
    Trend,
)
from streams.reading import Record
from web.queries import now_ms
from web.tables import Batch, is_aside, sentiment

E = TypeVar("E", bound=Event)

SHOWN_PER_S: Final = 120
"""Verdicts a second that reach the pages; above it they see a sample, and are told."""
_KEPT: Final = 600
_RATE_S: Final = 10
_HOP_SAMPLES: Final = 2_000
_REMEMBERED: Final = 50_000
HOPS: Final = {
    "feed_request": "event to request",
    "request_result": "request to result",
    "feed_result": "event to result",
    "queued": "waiting in the kernel",
    "forward": "model pass",
    "result_trend": "result to trend",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One result as the pages show it."""

    number: int
    part: int
    offset: int
    ts: int
    at: int
    ticker: str
    label: str
    confidence: float
    score: float
    source: str
    excerpt: str
    version: str
    cached: bool
    latency_ms: int | None
    """From the event's record to the result's; None where the event was not seen."""


class Memory(OrderedDict[Any, Any]):
    """The newest entries of a mapping."""

    def put(self, key: Any, value: Any) -> None:
        """Remember `value`, and forget the oldest where there are too many."""
        self[key] = value
        if len(self) > _REMEMBERED:
            self.popitem(last=False)


@dataclass
class Live:
    """The present, as one reader of the topics sees it."""

    connected: bool = False
    trouble: str = "connecting to the cluster"
    progress: float = 0.0
    """Share of the history that is read, in [0, 1]."""
    caught_up: bool = False
    behind: int = 0
    """Records that are on the topics and not read yet."""
    verdicts: deque[Verdict] = field(default_factory=lambda: deque(maxlen=_KEPT))
    events: deque[tuple[int, str, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=_KEPT)
    )
    """Alerts and dead letters: (number, kind, body)."""
    number: int = 0
    sample: tuple[int, int] = (0, 0)
    """Verdicts shown and verdicts seen in the last whole second."""
    unreadable: int = 0
    lost_count: int = 0
    _totals: Counter[str] = field(default_factory=Counter)
    _history: deque[tuple[float, dict[str, int]]] = field(default_factory=lambda: deque(maxlen=200))
    _hops: dict[str, deque[float]] = field(
        default_factory=lambda: {name: deque(maxlen=_HOP_SAMPLES) for name in HOPS}
    )
    _feed: Memory = field(default_factory=Memory)
    _requests: Memory = field(default_factory=Memory)
    _results: Memory = field(default_factory=Memory)
    _ends: dict[TopicPartition, int] = field(default_factory=dict)
    _begins: dict[TopicPartition, int] = field(default_factory=dict)
    _second: tuple[int, int, int] = (0, 0, 0)

    def found(self, ends: dict[TopicPartition, int], positions: dict[TopicPartition, int]) -> None:
        """The cluster answers; history lies between `positions` and `ends`."""
        self.connected, self.trouble = True, ""
        self._ends, self._begins = ends, positions
        self.caught_up = all(positions[part] >= ends[part] for part in ends)
        self.progress = 1.0 if self.caught_up else 0.0

    def lost(self, why: str) -> None:
        """The cluster does not answer."""
        if self.connected:
            self.lost_count += 1
        self.connected, self.trouble = False, why

    def back(self) -> None:
        """The cluster answers again."""
        self.connected, self.trouble = True, ""

    def tick(self, at: dict[TopicPartition, int], stable: dict[TopicPartition, int]) -> None:
        """Look how far the reader is: its position, and the end, of each partition."""
        now = time.monotonic()
        if not self._history or now - self._history[-1][0] >= 1.0:
            self._history.append((now, dict(self._totals)))
        self.behind = sum(max(stable[part] - at[part], 0) for part in at)
        if not self.caught_up:
            left = sum(max(end - at[p], 0) for p, end in self._ends.items())
            whole = sum(max(end - self._begins[p], 0) for p, end in self._ends.items())
            self.progress = 1.0 - left / whole if whole else 1.0
            self.caught_up = left == 0

    def take(self, batch: Batch, records: Sequence[Record]) -> None:
        """Take in what a batch says."""
        self._totals.update(record.topic for record in records)
        self.unreadable += batch.unreadable
        for one in batch.seen:
            record, event = one.record, one.event
            if isinstance(event, FeedEvent):
                self._feed.put(_at(record), (record.timestamp_ms, event.source))
            elif isinstance(event, KernelRequest):
                self._requests.put(event.id, record.timestamp_ms)
                if event.cause is not None:
                    self._hop("feed_request", record, self._source(event)[0])
            elif isinstance(event, KernelResult):
                self._take_result(record, event)
            elif isinstance(event, Trend):
                self._hop("result_trend", record, self._results.get(_source_of(event.cause)))
            elif isinstance(event, Alert | DeadLetter) and self.caught_up:
                self.number += 1
                kind = "alert" if isinstance(event, Alert) else "dead-letter"
                self.events.append((self.number, kind, {"id": event.id}))

    def _take_result(self, record: Record, event: KernelResult) -> None:
        self._results.put((record.topic, record.partition, record.offset), record.timestamp_ms)
        sent, source = self._source(event)
        self._hop("request_result", record, self._requests.get(event.request_id))
        self._hop("feed_result", record, sent)
        if event.timings is not None and self.caught_up:
            self._hops["queued"].append(event.timings.queued_ms)
            self._hops["forward"].append(event.timings.forward_ms)
        if is_aside(event.thread) or not (self.caught_up or self.behind < _KEPT):
            return
        second = int(time.monotonic())
        if second != self._second[0]:
            self.sample = self._second[1:]
            self._second = (second, 0, 0)
        _, given, seen = self._second
        show = given < SHOWN_PER_S
        self._second = (second, given + show, seen + 1)
        if not show:
            return
        self.number += 1
        at = event.published_at
        self.verdicts.append(
            Verdict(
                self.number,
                record.partition,
                record.offset,
                record.timestamp_ms,
                record.timestamp_ms if at is None else round(at.timestamp() * 1000),
                event.thread,
                event.label,
                max(event.scores.values(), default=0.0),
                sentiment(event),
                source,
                event.excerpt,
                event.model_version,
                event.cached,
                None if sent is None else record.timestamp_ms - sent,
            )
        )

    def _source(self, event: KernelRequest | KernelResult) -> tuple[int | None, str]:
        cause = event.cause
        if cause is None:
            return None, ""
        found: tuple[int, str] | None = self._feed.get(_source_of(cause))
        return found or (None, "")

    def _hop(self, name: str, record: Record, since: int | None) -> None:
        if since is not None and self.caught_up:
            self._hops[name].append(max(record.timestamp_ms - since, 0))

    def rates(self) -> dict[str, float]:
        """Records a second on each topic over the last seconds."""
        if len(self._history) < 2:
            return {}
        newest, now = self._history[-1]
        oldest, then = next(
            one for one in self._history if newest - one[0] <= _RATE_S or one is self._history[-2]
        )
        span = max(newest - oldest, 0.001)
        return {name: (count - then.get(name, 0)) / span for name, count in now.items()}

    def hops(self) -> dict[str, dict[str, float]]:
        """p50, p95 and p99 of each hop in milliseconds, over its newest samples."""
        found = {}
        for name, samples in self._hops.items():
            ordered = sorted(samples)
            if ordered:
                found[name] = {
                    f"p{share}": ordered[min(len(ordered) * share // 100, len(ordered) - 1)]
                    for share in (50, 95, 99)
                } | {"n": len(ordered)}
        return found

    def sampling(self) -> str:
        """In words, whether the pages see a sample; empty where they see everything."""
        given, seen = self.sample
        stale = int(time.monotonic()) - self._second[0] > 2
        return f"sample: {given} of {seen} verdicts/s shown" if given < seen and not stale else ""

    def status(self) -> dict[str, Any]:
        """How the reader itself is doing."""
        return {
            "connected": self.connected,
            "trouble": self.trouble,
            "caught_up": self.caught_up,
            "progress": round(self.progress, 4),
            "behind": self.behind,
            "sampling": self.sampling(),
            "unreadable": self.unreadable,
            "at": now_ms(),
        }


def decode_record(kind: type[E], record: Record) -> E | None:
    """The event that a record of a compacted topic holds; None: a tombstone, or none of ours."""
    at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
    try:
        return envelope.decode(kind, record.value, record.headers, at)
    except Unanswerable:
        return None


def _source_of(cause: Cause) -> tuple[str, int, int]:
    return cause.topic, cause.partition, cause.offset


def _at(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset
