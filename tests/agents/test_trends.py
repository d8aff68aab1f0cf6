"""Windows over event time are the same whatever the order of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.finance.scoring import scored, to_time
from agents.finance.trends import Trends, TrendState
from agents.finance.windows import recompute
from agents.runtime import Context
from schemas.envelope import Position
from schemas.events import KernelResult, Trend

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def result(ticker: str, label: str, p: float, seconds: float) -> KernelResult:
    rest = (1 - p) / 2
    scores = dict.fromkeys(("negative", "neutral", "positive"), rest) | {label: p}
    return KernelResult(
        id=f"{ticker}-{seconds}",
        request_id="q",
        task="sentiment",
        thread=ticker,
        label=label,
        scores=scores,
        model_version="1",
        precision="fp32",
        excerpt="",
        published_at=START + timedelta(seconds=seconds),
    )


def context(offset: int) -> Context:
    return Context("finance.trends", Position("kernel.results", 0, offset, 1_900_000_000_000), None)


def run(results: list[KernelResult]) -> list[Trend]:
    """All updates, with each ticker's state going through its stored form every time."""
    agent, states, trends = Trends(), dict[str, Any](), list[Trend]()
    for offset, one in enumerate(results):
        state, emits = agent.process(one, states.get(one.thread), context(offset))
        states[one.thread] = msgspec.json.decode(msgspec.json.encode(state), type=TrendState)
        trends += [emit.event for emit in emits if isinstance(emit.event, Trend)]
    return trends


RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from(["ABC", "XYZ"]),
        st.sampled_from(["negative", "neutral", "positive"]),
        st.floats(0.34, 1.0),
        st.one_of(st.floats(0, 700), st.floats(0, 8_000), st.floats(0, 300_000)),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150)
@given(RESULTS)
def test_any_order_of_arrival_ends_in_the_windows_of_the_definition(
    results: list[KernelResult],
) -> None:
    last = {trend.ticker: trend for trend in run(results)}
    found = [score for one in results if (score := scored(one, context(0))) is not None]
    for ticker, (as_of_ms, windows) in recompute(found).items():
        assert last[ticker].as_of == to_time(as_of_ms)
        assert last[ticker].windows == windows


def test_a_late_result_counts_in_its_own_bucket_and_says_so() -> None:
    first, second, late = run(
        [
            result("ABC", "positive", 0.9, 0),
            result("ABC", "positive", 0.9, 600),
            result("ABC", "negative", 0.9, 100),
        ]
    )
    assert (first.late, second.late, late.late) == (False, False, True)
    assert late.as_of == second.as_of
    assert late.windows["5m"].negative == 0
    assert late.windows["1h"].negative == 1


def test_a_result_older_than_every_window_counts_nowhere_and_is_still_said() -> None:
    days = 86_400
    _, late = run([result("ABC", "positive", 0.9, 3 * days), result("ABC", "negative", 0.9, 0)])
    assert late.late
    assert all(window.negative == 0 for window in late.windows.values())


def test_momentum_is_the_change_against_the_window_before() -> None:
    *_, last = run([result("ABC", "negative", 1.0, 0), result("ABC", "positive", 1.0, 300)])
    assert last.windows["5m"].mean == 1.0
    assert last.windows["5m"].momentum == 2.0
    assert last.windows["1h"].momentum == 0.0


def test_a_time_in_the_far_future_does_not_close_the_windows_for_ever() -> None:
    at = Position("kernel.results", 0, 0, int(START.timestamp() * 1000))
    (emit,) = Trends().process(
        result("ABC", "positive", 0.9, 10.0**9), None, Context("finance.trends", at, None)
    )[1]
    assert isinstance(emit.event, Trend)
    assert emit.event.as_of <= START + timedelta(days=1)
