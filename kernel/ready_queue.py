"""The ready queue: which requests make the next batch. Pure; time comes from the caller.

Padding is most of what a batch wastes, so requests wait in buckets by length, and a
batch is cut from one bucket and the next shorter one. Which bucket is served is
decided by the request that is due first: its arrival plus the slack of its urgency.
A bulk request therefore waits longer than an interactive one, but never for ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from schemas.topics import Urgency

Work = TypeVar("Work")
Model = TypeVar("Model")

BUCKET_TOKENS: Final = 8
"""Width of a length bucket: finer ones leave batches half empty, coarser ones pad more."""
SLACK_S: Final[dict[Urgency, float]] = {"interactive": 0.0, "standard": 2.0, "bulk": 60.0}
"""How much longer than an interactive request one of this urgency may wait."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[Model, Work]):
    """One request that is ready to be scored by `model`."""

    model: Model
    tokens: int
    urgency: Urgency
    arrived: float
    """Seconds on the caller's monotonic clock."""
    work: Work

    @property
    def due(self) -> float:
        """When its slack is gone."""
        return self.arrived + SLACK_S[self.urgency]


_Key = tuple[int, int, Urgency]
"""Identity of the model, length in buckets, urgency."""


class ReadyQueue(Generic[Model, Work]):
    """Requests by model, length and urgency, in order of arrival within each."""

    def __init__(self) -> None:
        self._buckets: dict[_Key, deque[Entry[Model, Work]]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Count of waiting requests."""
        return self._size

    def put(self, entry: Entry[Model, Work]) -> None:
        """Add a request."""
        key = (id(entry.model), -(-entry.tokens // BUCKET_TOKENS), entry.urgency)
        self._buckets.setdefault(key, deque()).append(entry)
        self._size += 1

    def take(self, budget: int) -> list[Entry[Model, Work]]:
        """The next batch: at most `budget` padded tokens, at least one request; all one model.

        It holds the request that is due first of all, and others of about its length.
        Empty where nothing waits.
        """
        if not self._buckets:
            return []
        model, length, _ = min(self._buckets, key=lambda key: self._buckets[key][0].due)
        width = length * BUCKET_TOKENS
        room = max(1, budget // width)
        batch: list[Entry[Model, Work]] = []
        for bucket_length in (length, length - 1):
            while len(batch) < room:
                keys = [
                    key
                    for urgency in SLACK_S
                    if (key := (model, bucket_length, urgency)) in self._buckets
                ]
                if not keys:
                    break
                batch.append(self._pop(min(keys, key=lambda key: self._buckets[key][0].due)))
        return batch

    def _pop(self, key: _Key) -> Entry[Model, Work]:
        bucket = self._buckets[key]
        entry = bucket.popleft()
        if not bucket:
            del self._buckets[key]
        self._size -= 1
        return entry
