"""The backlog: labels that no run has learned from yet, and when they are due."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.structs import TopicPartition

from schemas.errors import Unanswerable
from schemas.topics import LABELS
from streams.settings import Settings
from trainer.labels import Range, example_of


class Backlog:
    """What was read since the committed offsets; `clock` gives seconds and is monotonic."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._latest_at = 0.0
        self.by_task: Counter[str] = Counter()
        self.withdrawn: set[str] = set()
        """Ids that were taken back."""
        self.poison: list[tuple[Any, Unanswerable]] = []

    @property
    def waiting(self) -> int:
        """Label events that no run has learned from."""
        return sum(self.by_task.values()) + len(self.withdrawn)

    def take(self, records: Iterable[Any]) -> None:
        """Count what was read."""
        for record in records:
            self._latest_at = self._clock()
            try:
                key, example = example_of(record)
            except Unanswerable as verdict:
                self.poison.append((record, verdict))
                continue
            if example is None:
                self.withdrawn.add(key)
            else:
                self.by_task[example.task] += 1

    def is_due(self) -> bool:
        """Whether to act: enough labels and a short pause, or any at all and a long one."""
        quiet = self._clock() - self._latest_at
        if self.waiting >= self._settings.train_after:
            return quiet >= self._settings.train_settle_s
        return bool(self.waiting or self.poison) and quiet >= self._settings.train_idle_s


def ranges(begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> list[Range]:
    """The dataset that reaches from the topic's begin to where the backlog was read."""
    return [
        Range(LABELS.name, part.partition, begins[part], ends[part])
        for part in sorted(ends, key=lambda part: part.partition)
    ]
