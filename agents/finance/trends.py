"""finance.trends: sentiment per ticker over 5 minutes, 1 hour and 1 day of event time.

Late rule: a result counts in the bucket of its own time as long as any window or
the one before it reaches back that far; older, it counts nowhere. Either way it
causes an update, with `late` set if it is older than the newest one seen.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from agents.finance.scoring import scored, to_time
from agents.finance.windows import SPANS, Buckets, add, view
from agents.runtime import Agent, Context, Emit
from schemas.events import KernelResult, Trend
from schemas.topics import RESULTS, TRENDS, Topic


class TrendState(msgspec.Struct, frozen=True, array_like=True):
    """The newest event time of a ticker, and the buckets of each window in `SPANS`."""

    as_of_ms: int
    buckets: list[Buckets]


class Trends(Agent[KernelResult, TrendState]):
    """One update per result, in the order of the results."""

    name: ClassVar[str] = "finance.trends"
    source: ClassVar[Topic] = RESULTS
    emits_to: ClassVar[tuple[Topic, ...]] = (TRENDS,)

    @property
    def state_type(self) -> type[TrendState]:
        """State of one ticker."""
        return TrendState

    def thread(self, event: KernelResult, context: Context) -> str:  # noqa: ARG002
        """The ticker."""
        return event.thread

    def process(
        self, event: KernelResult, state: TrendState | None, context: Context
    ) -> tuple[TrendState | None, list[Emit]]:
        """Count the result and say the ticker's windows."""
        result = scored(event, context)
        if result is None:
            return state, []
        newest = result.at_ms if state is None else state.as_of_ms
        as_of = max(newest, result.at_ms)
        before = [{} for _ in SPANS] if state is None else state.buckets
        buckets = [add(span, kept, result, as_of) for span, kept in zip(SPANS, before, strict=True)]
        trend = Trend(
            id=context.emission_id(0),
            ticker=result.ticker,
            as_of=to_time(as_of),
            windows={
                span.name: view(span, kept, as_of)
                for span, kept in zip(SPANS, buckets, strict=True)
            },
            late=result.at_ms < newest,
            cause=context.cause(0),
        )
        return TrendState(as_of, buckets), [Emit(TRENDS, result.ticker, trend)]
