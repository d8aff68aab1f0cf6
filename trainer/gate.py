"""The gate: a new version goes live only if it beats the one that answers now.

Both are judged on the same held-back rows, through the graphs that would be served.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 2_000
CONFIDENCE: Final = 0.95
"""Share of bootstrap draws in which the first version must beat the majority label."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says, and why, in words for a person."""

    promote: bool
    reason: str
    n: int
    accuracy: float
    baseline: float
    """Accuracy of what it was compared with: the live version, or the majority label."""
    better: float
    """Share of paired bootstrap draws in which the candidate is ahead of the baseline."""


def judge(
    truth: NDArray[np.int64],
    candidate: NDArray[np.int64],
    live: NDArray[np.int64] | None,
) -> Verdict:
    """Compare label indices, each of shape [rows]; `live` is None where nothing is live.

    The first version must beat always naming the most frequent label, in 95 % of the
    draws. A later one must be right more often than the live one on the rows as they are;
    the share of draws in which it is ahead is reported (paired bootstrap: Koehn, 2004).
    """
    if len(truth) == 0:
        return Verdict(
            promote=False,
            reason="no held-back rows to judge by",
            n=0,
            accuracy=0.0,
            baseline=0.0,
            better=0.0,
        )
    first = live is None
    other = np.full_like(truth, np.bincount(truth).argmax()) if live is None else live
    right, before = candidate == truth, other == truth
    better = _ahead(right.astype(np.float64) - before)
    accuracy, baseline = float(right.mean()), float(before.mean())
    promote = better >= CONFIDENCE if first else accuracy > baseline
    against = "the majority label's" if first else "the live version's"
    reason = (
        f"accuracy {accuracy:.3f} {'beats' if promote else 'does not beat'} {against} "
        f"{baseline:.3f} on {len(truth)} held-back rows (ahead in {better:.0%} of the draws)"
    )
    return Verdict(
        promote=promote,
        reason=reason,
        n=len(truth),
        accuracy=accuracy,
        baseline=baseline,
        better=better,
    )


def _ahead(gains: NDArray[np.float64]) -> float:
    """Share of bootstrap draws, over rows, in which the sum of `gains` [rows] is positive."""
    rows = np.random.default_rng(0).integers(0, len(gains), (DRAWS, len(gains)))
    return float((gains[rows].sum(axis=1) > 0).mean())
