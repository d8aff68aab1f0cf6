"""Judgement: what is known of a version beyond its figures on clean rows. Lies in its artefact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.drivers.classifier import Classifier
from trainer import leakage, metrics, robustness, scoring, slices
from trainer.calibration import Calibration
from trainer.dataset import Dataset, Row
from trainer.leakage import Leakage
from trainer.metrics import Interval
from trainer.robustness import Change

FILE: Final = "judgement.json"
MOST_ROWS: Final = 256
"""Held-back rows that are changed and asked again: a version must not wait long for its card."""
MIN_ROWS: Final = 5


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share of `n` rows with its 95 % interval."""

    n: int
    value: float
    interval: Interval


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What one change to the texts did, on the rows that it changes anything of."""

    name: str
    clean: float
    """Accuracy on the same rows as they are."""
    accuracy: Share
    same: float
    """Share of rows that keep their label, right or wrong."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The findings; shares are of held-back rows through the graph that would be served."""

    calibration: Calibration
    robustness: list[Trial]
    contrasted: Share | None
    """Accuracy on texts that are asked about several targets with different labels."""
    fairness: list[Trial]
    """The same texts about names of other groups."""
    slices: dict[str, Share]
    leakage: Leakage
    without_leaks: Share | None
    """Accuracy on the rows that resemble no row to learn from."""


def judge(driver: Classifier, data: Dataset, calibration: Calibration) -> Judgement:
    """Judge the version that `driver` serves on the held-back rows of `data`."""
    rows = data.held_back
    truth = scoring.truth(rows, driver.labels)
    right = scoring.ask(driver, rows).argmax(axis=1) == truth
    targets = {row.target for row in data.train if row.target is not None}
    found = leakage.check(data.train, rows)
    clean = np.ones(len(rows), np.bool_)
    clean[found.leaked] = False
    some, several = rows[:MOST_ROWS], robustness.contrasted(rows)
    return Judgement(
        calibration=calibration,
        robustness=_trials(driver, some, robustness.PERTURBATIONS),
        contrasted=_share(right[several]) if several else None,
        fairness=_trials(driver, some, robustness.COUNTERFACTUALS),
        slices={name: _share(right[mask]) for name, mask in slices.of(rows, targets).items()},
        leakage=found,
        without_leaks=_share(right[clean]) if found.leaked and clean.any() else None,
    )


def fairness_gap(judgement: Judgement) -> float:
    """Accuracy of the best group of names less that of the worst; 0 without groups."""
    groups = [one.accuracy.value - one.clean for one in judgement.fairness]
    return max(groups) - min(groups) if groups else 0.0


def _trials(driver: Classifier, rows: Sequence[Row], changes: dict[str, Change]) -> list[Trial]:
    before = scoring.ask(driver, rows).argmax(axis=1)
    truth = scoring.truth(rows, driver.labels)
    found = []
    for name, change in changes.items():
        pairs = list(robustness.changed(rows, change))
        if len(pairs) < MIN_ROWS:
            continue
        at = [index for index, _ in pairs]
        after = scoring.ask(driver, [row for _, row in pairs]).argmax(axis=1)
        found.append(
            Trial(
                name=name,
                clean=float((before[at] == truth[at]).mean()),
                accuracy=_share(after == truth[at]),
                same=float((after == before[at]).mean()),
            )
        )
    return found


def _share(right: NDArray[np.bool_]) -> Share:
    return Share(
        n=len(right),
        value=float(right.mean()),
        interval=metrics.interval_of_mean(right.astype(np.float64)),
    )
