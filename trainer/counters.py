"""What the trainer counts, for `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import Unanswerable
from streams import metrics
from streams.lane_metrics import dead_letter_samples
from streams.metrics import Sample
from trainer.course import Finished


@dataclass(slots=True)
class TrainerStats:
    """Counters of one trainer process since its start, over all its terms."""

    elected: bool = False
    labels: int = 0
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By task and how they ended: promoted, refused or failed."""
    dead_letters: Counter[str] = field(default_factory=Counter)

    def learned(
        self,
        finished: Sequence[Finished],
        labels: int,
        poison: Sequence[tuple[Any, Unanswerable]],
    ) -> None:
        """Count what one transaction has committed."""
        self.labels += labels
        for one in finished:
            self.runs[one.run.task.name, _outcome(one)] += 1
        for _, verdict in poison:
            self.dead_letters[verdict.error_class] += 1

    def samples(self) -> Iterator[Sample]:
        """The readings."""
        yield Sample(metrics.ELECTED, float(self.elected))
        yield Sample(metrics.LABELS, self.labels)
        for (task, outcome), count in dict(self.runs).items():
            yield Sample(metrics.RUNS, count, (task, outcome))
        yield from dead_letter_samples("trainer", self.dead_letters)


def _outcome(finished: Finished) -> str:
    verdict = finished.run.verdict
    if finished.run.state == "failed" or verdict is None:
        return "failed"
    return "promoted" if verdict.promote else "refused"
