"""The roll-out policy: what becomes of a version on trial. Pure: no clock, no topics.

    shadow --> canary at each share in turn --> live
       |            |
       +------------+--> refused, with the reason

A version moves on when enough of its answers were compared, or the stage has lasted long
enough: a quiet feed must not hold it up. It is refused as soon as one bound is passed, on the
first occasion that the numbers can carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from kernel.evidence import Evidence
from schemas.events import ModelVersion
from streams.settings import Settings

PAIRS: Final = 40
"""Compared answers below which drift, agreement and cost are not judged."""
ERRORS: Final = 3
"""Errors below which the rate is not judged: one text may be poison."""
CORRECTIONS: Final = 10
"""Corrected answers below which they are not judged."""
UNHEARD: Final = 4.0
"""Stages' time after which a version that has answered nothing, while others have, is refused."""
SMALL_MS: Final = 2.0
"""A pass that is slower by less than this slows nothing down, whatever the ratio."""

Move = Literal["wait", "refuse", "canary", "live"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a version, and why, in words for a person."""

    move: Move
    reason: str
    share: float = 0.0
    """Of a canary."""


def decide(
    version: ModelVersion, evidence: Evidence, elapsed_s: float, settings: Settings
) -> Decision:
    """What becomes of a version in shadow or canary, `elapsed_s` after it got there."""
    wrong = fault(evidence, settings)
    if wrong:
        return Decision("refuse", f"{wrong} in {version.state}: {evidence.words()}")
    if version.held:
        return Decision("wait", "a person holds it")
    if evidence.pairs < settings.rollout_answers:
        if elapsed_s < settings.rollout_stage_s:
            return Decision("wait", evidence.words())
        if evidence.pairs == 0 and evidence.answered >= PAIRS:
            if elapsed_s < UNHEARD * settings.rollout_stage_s:
                return Decision("wait", "no answer of it yet")
            return Decision(
                "refuse",
                f"no answer by it in {version.state} while {evidence.answered} requests were "
                "answered; the kernel's log says why",
            )
    return _next(version, evidence, settings)


def fault(evidence: Evidence, settings: Settings) -> str:
    """The bound that a version passes; empty where it keeps them all."""
    return next(_faults(evidence, settings), "")


def _faults(evidence: Evidence, settings: Settings) -> Iterator[str]:
    if evidence.errors >= ERRORS and evidence.error_rate > settings.max_error_rate:
        yield f"fails on {evidence.error_rate:.1%} of its requests"
    if evidence.corrected >= CORRECTIONS:
        worse = (evidence.wrong - evidence.live_wrong) / evidence.corrected
        if worse > settings.max_worse:
            yield "corrections disagree with it more than with the live version"
    if evidence.pairs < PAIRS:
        return
    if evidence.drift > settings.max_drift:
        yield f"its labels drift from the live version's by {evidence.drift:.3f} bits"
    if evidence.agreement < settings.min_agreement:
        yield f"agrees with the live version on {evidence.agreement:.1%} only"
    slower_ms = max(evidence.costs) - max(evidence.live_costs)
    if evidence.slowdown > settings.max_slowdown and slower_ms > SMALL_MS:
        yield f"takes {evidence.slowdown:.1f} times as long as the live version"


def _next(version: ModelVersion, evidence: Evidence, settings: Settings) -> Decision:
    shares = sorted(share for share in settings.canary_shares if share > version.share)
    if shares:
        return Decision("canary", f"after {version.state}: {evidence.words()}", shares[0])
    return Decision("live", f"after canary at {version.share:.0%}: {evidence.words()}")
