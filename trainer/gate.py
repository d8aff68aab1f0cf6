"""The gate: a new version may go live only if it beats the one that answers now.

Both are judged on the same rows, through the graphs that would be served. The rule, with the
task's limits (`schemas.tasks.GateLimits`; docs/models.md says why):

1. No worse: on the rows that the live version was judged by (held back, labels as they stood
   then), the accuracy lost is below `max_fall` with 95 % confidence. Later labels cannot move
   these rows, so a burst of wrong ones is judged by what was known before.
2. Better, with 95 % confidence: on these and on newer held-back rows; or, where the task allows
   `repairs`, on the labels that came since, those that it was taught included.
3. No slice of those rows falls by more than `max_slice_fall`, beyond what chance does.
4. What would be served agrees with fp32, and is about as fast as the live version.

The first version of a task must beat always naming the most frequent label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.tasks import GateLimits

DRAWS: Final = 10_000
MIN_SLICE: Final = 20
"""Rows that a slice needs to be judged by: fewer say nothing of five points."""

Marks = NDArray[np.float64]
"""How right a version is on each row, shape [rows]: 1 right, 0 wrong."""
Ground = Literal["", "first", "better", "repairs"]


@dataclass(frozen=True, slots=True)
class Paired:
    """Marks of both versions on the same rows."""

    candidate: Marks
    live: Marks

    @classmethod
    def none(cls) -> Paired:
        """No rows."""
        return cls(np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.candidate)

    @property
    def gains(self) -> Marks:
        """What the candidate adds on each row."""
        return self.candidate - self.live

    def and_also(self, other: Paired) -> Paired:
        """Both sets of rows."""
        return Paired(
            np.concatenate([self.candidate, other.candidate]),
            np.concatenate([self.live, other.live]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the gate judges by."""

    kept: Paired
    """Held-back rows that the live version was judged by; of a first version, all held back,
    against the marks of the most frequent label."""
    fresh: Paired = field(default_factory=Paired.none)
    """Held-back rows whose labels are newer than the live version."""
    taught: Paired = field(default_factory=Paired.none)
    """Rows whose labels are newer than the live version, and that the candidate learned from."""
    first: bool = False
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Which of the `kept` rows belong to a slice, by its name."""
    agreement: float = 1.0
    """Share of rows on which the precision that serves gives the fp32 label."""
    slowdown: float | None = None
    """Time for the same texts as a multiple of the live version's."""
    p99_ms: float | None = None
    """Forward pass of one text at the 99th percentile."""


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
    ground: Ground = ""
    """What it passed on: better on unseen rows, or only on the labels that came since."""
    refusals: list[str] = []
    slowdown: float | None = None
    worst_slices: dict[str, float] = {}
    """Change of accuracy of the slices that fell most, worst first."""


def judge(evidence: Evidence, limits: GateLimits | None = None) -> Verdict:
    """The verdict on a candidate.

    Sources: the paired bootstrap, Koehn (2004), "Statistical significance tests for machine
    translation evaluation"; non-inferiority by an interval above a margin, Piaggio et al. (2012),
    "Reporting of noninferiority and equivalence randomized trials".
    """
    limits = limits or GateLimits()
    unseen = evidence.kept.and_also(evidence.fresh)
    if len(evidence.kept) == 0:
        return Verdict(
            promote=False,
            reason="no held-back rows to judge by",
            n=0,
            accuracy=0.0,
            baseline=0.0,
            better=0.0,
            refusals=["no held-back rows to judge by"],
        )
    better = ahead(unseen.gains)
    says, ground = _compared(evidence, limits, unseen, better)
    falls = _falls(evidence)
    refusals = [says] if not ground else []
    refusals += _slices(evidence, falls, limits) + _serving(evidence, limits)
    return Verdict(
        promote=not refusals,
        reason="; ".join(refusals) if refusals else says,
        n=len(unseen),
        accuracy=float(unseen.candidate.mean()),
        baseline=float(unseen.live.mean()),
        better=better,
        ground=ground if not refusals else "",
        refusals=refusals,
        slowdown=evidence.slowdown,
        worst_slices=dict(sorted(falls.items(), key=lambda one: one[1])[:3]),
    )


def _compared(
    evidence: Evidence, limits: GateLimits, unseen: Paired, better: float
) -> tuple[str, Ground]:
    """In words how it compares, and the ground to pass on; empty where there is none."""
    rows = f"on {len(unseen)} held-back rows"
    against = "the majority label's" if evidence.first else "the live version's"
    figures = f"accuracy {unseen.candidate.mean():.3f}"
    drawn = f"(ahead in {better:.0%} of the draws)"
    wins = better >= limits.confidence
    if evidence.first:
        said = "beats" if wins else "does not beat"
        return (
            f"{figures} {said} {against} {unseen.live.mean():.3f} {rows} {drawn}",
            "first" if wins else "",
        )
    lost = -lower_bound(evidence.kept.gains, limits.confidence)
    known = f"the {len(evidence.kept)} rows that the live version was judged by"
    if lost >= limits.max_fall:
        says = (
            f"on {known} accuracy moves from {evidence.kept.live.mean():.3f} to "
            f"{evidence.kept.candidate.mean():.3f}: a loss of {lost:.3f} cannot be ruled out, "
            f"{limits.max_fall:g} is allowed"
        )
        return says, ""
    if wins:
        return f"{figures} beats {against} {unseen.live.mean():.3f} {rows} {drawn}", "better"
    new = evidence.taught.and_also(evidence.fresh)
    repairs = ahead(new.gains)
    told = f"{new.candidate.sum():g} of {len(new)} new labels against {new.live.sum():g}"
    if limits.repairs and len(evidence.taught) and repairs >= limits.confidence:
        return f"right on {told}, and on {known} it loses less than {max(lost, 0):.3f}", "repairs"
    return (
        f"{figures} does not beat {against} {unseen.live.mean():.3f} {rows} {drawn[:-1]}, "
        f"{limits.confidence:.0%} are needed)"
        + (f"; right on {told} (ahead in {repairs:.0%})" if len(new) else ""),
        "",
    )


def _falls(evidence: Evidence) -> dict[str, float]:
    """Change of accuracy of each slice that has enough rows."""
    gains = evidence.kept.gains
    return {
        name: float(gains[rows].mean())
        for name, rows in evidence.slices.items()
        if rows.sum() >= MIN_SLICE
    }


def _slices(evidence: Evidence, falls: dict[str, float], limits: GateLimits) -> list[str]:
    """Slices that fall too far. The more slices, the surer each must be (Bonferroni)."""
    sure = 1 - (1 - limits.confidence) / max(1, len(falls))
    gains = evidence.kept.gains
    return [
        f"{name} falls by {-change:.3f} on {evidence.slices[name].sum()} rows, "
        f"{limits.max_slice_fall:g} is allowed"
        for name, change in falls.items()
        if -change > limits.max_slice_fall and ahead(-gains[evidence.slices[name]]) >= sure
    ]


def _serving(evidence: Evidence, limits: GateLimits) -> list[str]:
    said = []
    if evidence.agreement < limits.min_agreement:
        said.append(
            f"what would be served gives the fp32 label on {evidence.agreement:.4f} of the rows, "
            f"{limits.min_agreement:g} is needed"
        )
    if evidence.slowdown is not None and evidence.slowdown > limits.max_slowdown:
        said.append(
            f"takes {evidence.slowdown:.2f} times as long as the live version, "
            f"{limits.max_slowdown:g} is allowed"
        )
    if evidence.p99_ms is not None and limits.max_p99_ms and evidence.p99_ms > limits.max_p99_ms:
        said.append(
            f"takes {evidence.p99_ms:.1f} ms for a text at p99, {limits.max_p99_ms:g} ms is allowed"
        )
    return said


def ahead(gains: Marks) -> float:
    """Share of bootstrap draws over rows in which the sum of `gains` [rows] is positive."""
    return float((_drawn(gains) > 0).mean()) if len(gains) else 0.0


def lower_bound(gains: Marks, confidence: float) -> float:
    """What the mean of `gains` [rows] is above of, at this one-sided confidence (bootstrap)."""
    return float(np.quantile(_drawn(gains), 1 - confidence))


def _drawn(gains: Marks) -> NDArray[np.float64]:
    """Means of bootstrap draws, [DRAWS].

    Drawing rows with replacement is drawing how often each value occurs: the same
    distribution, for any number of rows.
    """
    values, counts = np.unique(gains, return_counts=True)
    times = np.random.default_rng(0).multinomial(len(gains), counts / len(gains), DRAWS)
    means: NDArray[np.float64] = times @ values / len(gains)
    return means
