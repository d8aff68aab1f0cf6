"""Metrics of a classifier on labelled rows, with what chance could have done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS: Final = 1_000
BINS: Final = 10

Interval = tuple[float, float]
"""The middle 95 % of bootstrap draws over rows."""


class LabelReport(msgspec.Struct, frozen=True):
    """How one label does; 0 where nothing was said or nothing was there."""

    precision: float
    recall: float
    f1: float
    support: int
    precision_interval: Interval = (0.0, 0.0)
    recall_interval: Interval = (0.0, 0.0)
    f1_interval: Interval = (0.0, 0.0)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """How inputs that a label fits do, and those that none fits."""

    label: str
    """The one that says that no other fits."""
    in_scope: int
    in_scope_accuracy: float
    in_scope_interval: Interval
    out_of_scope: int
    out_of_scope_recall: float
    out_of_scope_interval: Interval


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a model does on labelled rows; intervals are 95 %, by bootstrap over rows."""

    n: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    ece: float
    """Expected calibration error over ten bins of confidence, in [0, 1]."""
    ece_interval: Interval = (0.0, 0.0)
    per_label: dict[str, LabelReport]
    confusion: list[list[int]]
    """Rows are the right labels, columns what was said, in the task's order."""
    scope: Scope | None = None
    """Where a label says that none of the others fits, and there are rows of both kinds."""
    precision: str = ""
    """Numeric precision of the model that answered."""
    version: str = ""


def evaluate(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: tuple[str, ...]
) -> Report:
    """The report for `probabilities` [rows, labels] against `truth` [rows], label indices.

    Raises:
        ValueError: no rows.
    """
    if len(truth) == 0:
        raise ValueError("no rows to evaluate on")
    said = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, said, len(labels))
    rng = np.random.default_rng(0)
    accuracies, errors, by_label = [], [], []
    for _ in range(BOOTSTRAPS):
        rows = rng.integers(0, len(truth), len(truth))
        drawn = confusion_matrix(truth[rows], said[rows], len(labels))
        accuracies.append(accuracy(drawn))
        errors.append(calibration_error(probabilities[rows], truth[rows]))
        by_label.append(per_label(drawn))
    figures = np.array(by_label)  # [draws, 3, labels]
    low, high = np.percentile(figures, (2.5, 97.5), axis=0)
    precision, recall, f1 = per_label(confusion)
    return Report(
        n=len(truth),
        accuracy=accuracy(confusion),
        accuracy_interval=_interval(accuracies),
        macro_f1=float(f1.mean()),
        macro_f1_interval=_interval(figures[:, 2].mean(axis=1)),
        ece=calibration_error(probabilities, truth),
        ece_interval=_interval(errors),
        per_label={
            label: LabelReport(
                float(precision[index]),
                float(recall[index]),
                float(f1[index]),
                int(confusion[index].sum()),
                *((float(low[which, index]), float(high[which, index])) for which in range(3)),
            )
            for index, label in enumerate(labels)
        },
        confusion=confusion.tolist(),
    )


def scope(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str], label: str
) -> Scope | None:
    """How inputs in and out of scope do, given `label` for the latter; None without both."""
    if label not in labels:
        return None
    right = probabilities.argmax(axis=1) == truth
    outside = truth == list(labels).index(label)
    if outside.all() or not outside.any():
        return None
    return Scope(
        label=label,
        in_scope=int((~outside).sum()),
        in_scope_accuracy=float(right[~outside].mean()),
        in_scope_interval=interval_of_mean(right[~outside].astype(np.float64)),
        out_of_scope=int(outside.sum()),
        out_of_scope_recall=float(right[outside].mean()),
        out_of_scope_interval=interval_of_mean(right[outside].astype(np.float64)),
    )


def interval_of_mean(values: NDArray[np.float64]) -> Interval:
    """The 95 % interval of the mean of `values` [rows], of which there is at least one.

    Drawing rows with replacement is drawing how often each value occurs.
    """
    kinds, counts = np.unique(values, return_counts=True)
    times = np.random.default_rng(0).multinomial(len(values), counts / len(values), BOOTSTRAPS)
    return _interval(times @ kinds / len(values))


def reliability(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64]
) -> list[tuple[int, float, float]]:
    """For each bin of confidence that has rows: how many, mean confidence, share right."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (
            int((bins == index).sum()),
            float(confidence[bins == index].mean()),
            float(right[bins == index].mean()),
        )
        for index in np.unique(bins)
    ]


def confusion_matrix(
    truth: NDArray[np.int64], said: NDArray[np.int64], labels: int
) -> NDArray[np.int64]:
    """Counts, shape [labels, labels]: row is the right label, column what was said."""
    flat = np.bincount(truth * labels + said, minlength=labels * labels)
    return flat.astype(np.int64).reshape(labels, labels)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of rows on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def per_label(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1, each of shape [labels]; 0 where undefined."""
    right = np.diag(confusion).astype(np.float64)
    said, there = confusion.sum(axis=0), confusion.sum(axis=1)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(there, 1)
    total = precision + recall
    f1 = np.where(total > 0, 2 * precision * recall / np.maximum(total, 1e-12), 0.0)
    return precision, recall, f1


def calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Expected calibration error (Naeini et al., 2015), ten bins of equal width."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(truth))


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Share of rows on which two sets of probabilities, [rows, labels], name the same label."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def _interval(values: list[float] | NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
