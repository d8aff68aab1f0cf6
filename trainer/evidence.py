"""Evidence: what the gate judges by, from the graphs that would be served."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kernel import artefact
from kernel.artefact import Precision
from kernel.drivers import device
from schemas.tasks import Task
from trainer import scoring, slices
from trainer.dataset import Dataset, Row
from trainer.gate import Evidence, Marks, Paired
from trainer.graph import Graph

_TIMED_ROWS: Final = 48
_TIMED_BATCH: Final = 8
_ROUNDS: Final = 5
_TRIES: Final = 3
_SINGLES: Final = 100


class Asked:
    """The model in an artefact folder, in the precision that would be served."""

    def __init__(self, folder: Path, task: Task) -> None:
        self._folder = folder
        self._task = task
        # A classifier is asked through the kernel's driver, which is what serves.
        self._driver: Any = (
            scoring.load(folder, "auto") if task.answer == "label" else Graph(folder, "auto")
        )
        self.precision: Precision = self._driver.precision

    def marks(self, rows: Sequence[Row]) -> Marks:
        """How right it is on each row, in [0, 1]; shape [rows].

        Of tags it is the share of the words; of vectors 1 where a text's own neighbour is the
        nearest of all. A label that the model does not know is one that it gets wrong.
        """
        if not rows:
            return np.zeros(0)
        if self._task.answer == "vector":
            own = self._driver.vectors([row.text for row in rows])
            near = self._driver.vectors([row.target or "" for row in rows])
            return np.asarray((own @ near.T).argmax(axis=1) == np.arange(len(rows)), np.float64)
        ask = self._driver.tags if self._task.answer == "tags" else self._by_label
        said = [self._driver.labels[index] for index in ask(rows).argmax(axis=1)]
        right = [one for row in rows for one in row.said]
        hits = np.array([one == other for one, other in zip(said, right, strict=True)], np.float64)
        ends = np.cumsum([len(row.said) for row in rows])[:-1]
        return np.array([part.mean() for part in np.split(hits, ends)], np.float64)

    def seconds(self, rows: Sequence[Row], batch: int, clock: Callable[[], float]) -> float:
        """Time by `clock` for `rows`, so many at once; tokenising is part of it."""
        began = clock()
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            if self._task.answer == "label":
                self._by_label(some)
            elif self._task.answer == "tags":
                self._driver.tags(some)
            else:
                self._driver.vectors([row.text for row in some])
        return clock() - began

    def agreement(self) -> float:
        """Share of rows on which what is served gives the label of fp32, by the manifest."""
        if self.precision == "fp32":
            return 1.0
        return artefact.read(self._folder).agreement.get(self.precision, 0.0)

    def _by_label(self, rows: Sequence[Row]) -> Any:
        return scoring.ask(self._driver, rows)


@dataclass(frozen=True, slots=True)
class Before:
    """Rows, clean and settled, as they stood when the live version learned."""

    rows: Sequence[Row]
    held_back: Sequence[Row]
    """Those of them that neither version has learned from, also if they were withdrawn since."""


def first(folder: Path, data: Dataset, task: Task) -> Evidence:
    """Of the first version of a task: compared with always naming the most frequent label."""
    asked = Asked(folder, task)
    return Evidence(
        kept=Paired(asked.marks(data.held_back), _majority(data.held_back)),
        first=True,
        agreement=asked.agreement(),
        p99_ms=p99_ms(asked, data.held_back, task),
    )


def against(folder: Path, live: Path, data: Dataset, before: Before, task: Task) -> Evidence:
    """Of the version in `folder`, made from `data`, against the one in `live`.

    What was held back then judges both; where that is unknown, all that is held back now does.
    """
    new, old = Asked(folder, task), Asked(live, task)
    known = {_said(row) for row in before.rows}
    kept = list(before.held_back)
    fresh = [row for row in data.held_back if _said(row) not in known]
    taught = [row for row in data.train if _said(row) not in known]
    if not kept:
        kept, fresh = data.held_back, []
    targets = {row.target for row in data.train if row.target is not None}
    return Evidence(
        kept=_paired(new, old, kept),
        fresh=_paired(new, old, fresh),
        taught=_paired(new, old, taught),
        slices=slices.of(kept, targets),
        agreement=new.agreement(),
        slowdown=slowdown(new, old, kept, task.limits.max_slowdown),
        p99_ms=p99_ms(new, kept, task),
    )


def slowdown(new: Asked, old: Asked, rows: Sequence[Row], limit: float) -> float:
    """Time that `new` takes for `rows`, as a multiple of what `old` takes.

    On a CPU it is the processor's time, of all threads: what other processes take does not
    count. They take turns, and of each the fastest round counts. A multiple beyond `limit` is
    measured again.
    """
    clock = time.perf_counter if device.find().gpu else time.process_time
    chosen = rows[:_TIMED_ROWS]
    lowest = float("inf")
    for _ in range(_TRIES):
        rounds = [
            [asked.seconds(chosen, _TIMED_BATCH, clock) for asked in (new, old)]
            for _ in range(_ROUNDS)
        ]
        lowest = min(lowest, min(one for one, _ in rounds) / min(one for _, one in rounds))
        if lowest <= limit:
            break
    return lowest


def p99_ms(asked: Asked, rows: Sequence[Row], task: Task) -> float | None:
    """Milliseconds for one text at the 99th percentile; None where the task sets no limit."""
    if task.limits.max_p99_ms is None or not rows:
        return None
    return float(np.percentile(singles_ms(asked, rows), 99))


def singles_ms(asked: Asked, rows: Sequence[Row]) -> Marks:
    """Milliseconds for one text at a time, shape [texts]."""
    clock = time.perf_counter
    asked.seconds(rows[:1], 1, clock)  # the first pass pays for the others
    times = [asked.seconds([rows[turn % len(rows)]], 1, clock) for turn in range(_SINGLES)]
    return np.array(times) * 1000


def _majority(rows: Sequence[Row]) -> Marks:
    """Marks of always naming the most frequent answer of all; for vectors, of guessing."""
    said = [one for row in rows for one in row.said]
    most = max(sorted(set(said)), key=said.count) if said else ""
    return np.array(
        [float(np.mean([one == most for one in row.said])) if most else 0.0 for row in rows]
    )


def _paired(new: Asked, old: Asked, rows: Sequence[Row]) -> Paired:
    return Paired(new.marks(rows), old.marks(rows))


def _said(row: Row) -> tuple[str, str | None, object]:
    return row.text, row.target, row.answer
