"""Checks of what the finance agents derive from results, against their definitions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from agents.finance.alerts import Alerts, AlertState
from agents.finance.scoring import scored, to_ms
from agents.finance.windows import recompute
from agents.runtime import Context
from proof.chaos.checker import Anomaly, Check, History
from proof.chaos.history import Seen
from schemas.envelope import Position
from schemas.events import KernelResult, Trend, TrendWindow
from schemas.topics import ALERTS, RESULTS, TRENDS

_RESULT: Final = msgspec.json.Decoder(KernelResult)
_TREND: Final = msgspec.json.Decoder(Trend)


def trends(history: History) -> Iterator[Anomaly]:
    """The last trend of each ticker is what the definition gives over all its results."""
    events = []
    for seen in history.on(RESULTS.name):
        event = scored(_RESULT.decode(seen.body), _context("finance.trends", seen))
        if event is not None:
            events.append(event)
    last = {seen.key: seen for seen in history.on(TRENDS.name)}
    for ticker, (as_of, windows) in recompute(events).items():
        if ticker not in last:
            continue  # each trend that is missing is reported as an answer lost
        seen = last[ticker]
        trend = _TREND.decode(seen.body)
        if to_ms(trend.as_of) != as_of:
            yield Anomaly("trend-differs", f"{seen}: as of {trend.as_of}, not {as_of}")
        for name, window in windows.items():
            if not _same(trend.windows.get(name), window):
                yield Anomaly(
                    "trend-differs",
                    f"{seen}, window {name}: {trend.windows.get(name)}; recomputed {window}",
                )


def _same(said: TrendWindow | None, defined: TrendWindow) -> bool:
    if said is None:
        return False
    pairs = zip(msgspec.structs.astuple(said), msgspec.structs.astuple(defined), strict=True)
    return all(math.isclose(one, other, abs_tol=1e-9) for one, other in pairs)


def alerts(history: History) -> Iterator[Anomaly]:
    """The alerts are those that the agent raises over the results as they stand."""
    agent = Alerts()
    states: dict[tuple[int, str], AlertState | None] = {}
    expected: dict[str, str] = {}
    for seen in history.on(RESULTS.name):
        result, context = _RESULT.decode(seen.body), _context(agent.name, seen)
        thread = (seen.partition, agent.thread(result, context))
        states[thread], emits = agent.process(result, states.get(thread), context)
        expected |= {emit.event.id: f"{emit.key}, raised by {seen}" for emit in emits}
    raised = Counter(seen.id for seen in history.on(ALERTS.name))
    for name, why in expected.items():
        if not raised[name]:
            yield Anomaly("alert-missing", f"{name} about {why}")
    for name, count in raised.items():
        if name not in expected:
            yield Anomaly("alert-unfounded", f"{name}: the results give no such alert")
        elif count > 1:
            yield Anomaly("alert-doubled", f"{name} stands {count} times")


def _context(agent: str, seen: Seen) -> Context:
    return Context(agent, Position(seen.topic, seen.partition, seen.offset, seen.at), seen.key)


CHECKS: Final[tuple[Check, ...]] = (trends, alerts)
