"""What trends and alerts read out of a kernel result: whose, when, and how good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agents.runtime import Context
from schemas.events import KernelResult
from schemas.ids import ASIDE
from schemas.tasks import SENTIMENT

MICRO: Final = 1_000_000
"""Scores are summed as whole millionths: sums are exact, whatever the order of arrival."""
MAX_AHEAD_MS: Final = 86_400_000
"""A result cannot pull a ticker's time further ahead of its record's own time than this."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One result about one ticker."""

    ticker: str
    at_ms: int
    """Event time, in milliseconds since 1970."""
    label: str
    micro: int
    """P(positive) - P(negative), in millionths."""


def scored(result: KernelResult, context: Context) -> Scored | None:
    """The score of a result; None for another task, labels that are not sentiment, or an aside."""
    if result.thread.startswith(ASIDE):
        return None
    if result.task != SENTIMENT.name or result.label not in {"positive", "neutral", "negative"}:
        return None
    recorded = max(context.position.timestamp_ms, 0)
    at_ms = recorded
    if result.published_at is not None:
        at_ms = min(to_ms(result.published_at), recorded + MAX_AHEAD_MS)
    score = result.scores.get("positive", 0.0) - result.scores.get("negative", 0.0)
    return Scored(result.thread, at_ms, result.label, round(score * MICRO))


def to_ms(time: datetime) -> int:
    """Milliseconds since 1970."""
    return round(time.timestamp() * 1000)


def to_time(at_ms: int) -> datetime:
    """The UTC time of milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
