"""Calibration: one temperature, so that a confidence of 0.8 is right eight times in ten.

It is fitted on one half of the held-back rows and folded into the exported head, so that a
driver needs to know nothing of it. It moves no label, so accuracy may be judged on all held-back
rows; the calibration error is reported on the other half, before and after.
Method: Guo et al. (2017), "On Calibration of Modern Neural Networks".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from trainer import metrics
from trainer.dataset import Row

MIN_ROWS: Final = 20
"""Rows to fit a temperature on; with fewer the model stays as it is."""
_COLDEST, _HOTTEST = 0.2, 10.0
_STEPS: Final = 60
_TINY: Final = 1e-12


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What was fitted, and what it did."""

    temperature: float = 1.0
    """Logits were divided by this; above 1 the model was too sure."""
    fitted_on: int = 0
    judged_on: int = 0
    raised: float = 0.0
    """Added to the logit of the label that says that no other fits (`trainer/out_of_scope.py`)."""
    ece_before: float | None = None
    """Expected calibration error on the judged rows, without the temperature."""
    ece_after: float | None = None


def is_fitted_on(row: Row) -> bool:
    """Whether a held-back row belongs to the half that the temperature is fitted on.

    A function of the text alone, so that all rows of a text lie in the same half.
    """
    return hashlib.sha256(f"temperature\0{row.text}".encode()).digest()[0] % 2 == 0


def calibrate(
    rows: Sequence[Row], probabilities: NDArray[np.float32], truth: NDArray[np.int64]
) -> Calibration:
    """The temperature for `probabilities` [rows, labels] of held-back rows."""
    half = np.array([is_fitted_on(row) for row in rows], np.bool_)
    if half.sum() < MIN_ROWS or (~half).sum() < MIN_ROWS:
        return Calibration()
    temperature = fit(probabilities[half], truth[half])
    other = probabilities[~half]
    return Calibration(
        temperature=temperature,
        fitted_on=int(half.sum()),
        judged_on=int((~half).sum()),
        ece_before=metrics.calibration_error(other, truth[~half]),
        ece_after=metrics.calibration_error(tempered(other, temperature), truth[~half]),
    )


def fit(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood of `truth` [rows].

    The loss is convex in the inverse of the temperature: a ternary search finds its minimum.
    """
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(_STEPS):
        third = (high - low) / 3
        if _loss(probabilities, truth, low + third) < _loss(probabilities, truth, high - third):
            high -= third
        else:
            low += third
    return 2 / (low + high)


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """`probabilities` [rows, labels] as they are after dividing the logits."""
    return np.exp(log_probabilities(probabilities, 1 / temperature)).astype(np.float32)


def fold(head: torch.nn.Linear, temperature: float) -> None:
    """Divide the logits that `head` gives, for good."""
    with torch.no_grad():
        for weight in head.parameters():
            weight.div_(temperature)


def _loss(probabilities: NDArray[np.float32], truth: NDArray[np.int64], inverse: float) -> float:
    logs = log_probabilities(probabilities, inverse)
    return float(-logs[np.arange(len(truth)), truth].mean())


def log_probabilities(
    probabilities: NDArray[np.float32], inverse: float = 1.0
) -> NDArray[np.float64]:
    """Logarithms of `probabilities` [rows, labels], their logits taken `inverse` times."""
    # Logits are log-probabilities but for a constant in each row, which softmax drops.
    logits = np.log(probabilities.astype(np.float64) + _TINY) * inverse
    logits -= logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return found
