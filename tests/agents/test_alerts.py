"""One alert per negative burst of the starter feed, and none for other traffic.

The kernel is not needed for this: `process` is pure, and the results it is fed are
what a model that is always right would say about the feed, by feed.md.
"""

from __future__ import annotations

import csv
import itertools
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.finance.alerts import MAX_HEADLINES, MAX_RECENT, Alerts, AlertState
from agents.finance.entities import STARTER, Entities
from agents.runtime import Context
from schemas.envelope import Position
from schemas.events import Alert, KernelResult

FOLDER = STARTER.parent
ROW = re.compile(r"^\| (\w+) \| (\S+Z) \| (\S+Z) \| (\d+) \|", re.MULTILINE)
START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def result(ticker: str, score: float, at: datetime, name: str = "r") -> KernelResult:
    """A result with P(positive) - P(negative) of `score`."""
    label = "negative" if score < -0.2 else "positive" if score > 0.2 else "neutral"
    return KernelResult(
        id=name,
        request_id=name,
        task="sentiment",
        thread=ticker,
        label=label,
        scores={"negative": max(-score, 0.0), "neutral": 0.2, "positive": max(score, 0.0)},
        model_version="1",
        precision="fp32",
        excerpt=f"headline {name}",
        published_at=at,
    )


def run(results: list[KernelResult]) -> list[Alert]:
    """All alerts, with each ticker's state going through its stored form every time."""
    agent, states, alerts = Alerts(), dict[str, Any](), list[Alert]()
    for offset, one in enumerate(results):
        at = Position("kernel.results", 0, offset, 1_900_000_000_000)
        state, emits = agent.process(
            one, states.get(one.thread), Context("finance.alerts", at, one.thread)
        )
        states[one.thread] = msgspec.json.decode(msgspec.json.encode(state), type=AlertState)
        alerts += [emit.event for emit in emits if isinstance(emit.event, Alert)]
    return alerts


def bursts(title: str) -> list[tuple[str, datetime, datetime]]:
    """Ticker, first and last item of the table under `title` in feed.md."""
    text = (FOLDER / "feed.md").read_text()
    section = text[text.index(title) :]
    section = section[: section.find("\n## ", 1)] if "\n## " in section[1:] else section
    return [
        (ticker, datetime.fromisoformat(first), datetime.fromisoformat(last))
        for ticker, first, last, _ in ROW.findall(section)
    ]


def oracle(strength: float) -> list[KernelResult]:
    """What a model that is always right, and as sure as `strength`, says of the feed."""
    bad, other = bursts("## Negative bursts"), bursts("## Traffic that must not")
    entities, results = Entities.load(STARTER), []
    with (FOLDER / "feed.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["published_at"])
            for target in entities.find(row["text"], row["tickers"].split()):
                name = f"{row['id']}:{target.ticker}"
                usual = (0.5, 0.0, 0.1, -0.4)[zlib.crc32(name.encode()) % 4]
                score = usual * strength
                if any(t == target.ticker and a <= at <= b for t, a, b in other[:2]):
                    score = strength
                if target.ticker == "UMBR" or any(
                    t == target.ticker and a <= at <= b for t, a, b in bad
                ):
                    score = -strength
                results.append(result(target.ticker, score, at, name))
    return results


@pytest.mark.parametrize("strength", [0.55, 0.7, 0.95])
def test_each_negative_burst_of_the_starter_feed_raises_one_alert(strength: float) -> None:
    alerts = run(oracle(strength))
    expected = bursts("## Negative bursts")
    assert len(expected) == 6
    assert [alert.ticker for alert in alerts] == [ticker for ticker, _, _ in expected]
    for alert, (_, first, last) in zip(alerts, expected, strict=True):
        assert first < alert.raised_at <= last
        assert 4 <= len(alert.headlines) <= MAX_HEADLINES
        assert alert.mean < alert.baseline_mean
        scores = [headline.score for headline in alert.headlines]
        assert scores == sorted(scores)
        assert all(headline.text.startswith("headline feed-") for headline in alert.headlines)


def minutes(*scores_at: tuple[float, float]) -> list[KernelResult]:
    """Results about one ticker at (minute, score)."""
    return [
        result("ABC", score, START + timedelta(minutes=minute), f"r{number}")
        for number, (minute, score) in enumerate(scores_at)
    ]


CALM = [(float(minute), 0.2) for minute in range(0, 300, 15)]
BURST = [(float(minute), -0.9) for minute in range(310, 330, 2)]


def test_a_burst_raises_once_and_a_second_one_after_recovery_again() -> None:
    assert len(run(minutes(*CALM, *BURST))) == 1
    recovery = [(335.0 + step * 3, 0.3) for step in range(12)]
    second = [(minute + 100, score) for minute, score in BURST]
    assert len(run(minutes(*CALM, *BURST, *recovery, *second))) == 2


def test_a_burst_that_goes_on_for_hours_is_one_alert() -> None:
    long = [(310 + step * 2.0, -0.9) for step in range(90)]
    assert len(run(minutes(*CALM, *long))) == 1


def test_a_ticker_that_is_always_negative_raises_nothing_by_going_on() -> None:
    assert run(minutes(*[(step * 10.0, -0.6) for step in range(200)])) == []


def test_four_negative_results_are_no_burst() -> None:
    assert run(minutes(*CALM, *BURST[:4])) == []


def test_late_results_raise_nothing_for_a_window_that_has_passed() -> None:
    assert run(minutes(*CALM, (500.0, 0.1), *BURST)) == []


def test_a_late_result_can_complete_the_window_that_is_still_open() -> None:
    in_order = run(minutes(*CALM, *BURST))
    (alert,) = run(minutes(*CALM, BURST[-1], *BURST[:-1]))
    assert alert.raised_at == START + timedelta(minutes=BURST[-1][0])
    assert len(in_order) == 1


def test_the_state_of_a_busy_ticker_is_bounded() -> None:
    agent, state = Alerts(), None
    for number in range(2_000):
        one = result("ABC", -0.5, START + timedelta(seconds=number), "x" * 100)
        at = Position("kernel.results", 0, number, 1_900_000_000_000)
        state, _ = agent.process(one, state, Context("finance.alerts", at, "ABC"))
    assert state is not None
    assert len(state.recent) == MAX_RECENT
    assert len(msgspec.json.encode(state)) < 60_000


def test_results_of_other_tasks_change_nothing() -> None:
    one = msgspec.structs.replace(result("ABC", -0.9, START), task="spam")
    at = Position("kernel.results", 0, 0, 0)
    assert Alerts().process(one, None, Context("finance.alerts", at, "ABC")) == (None, [])


def test_alert_ids_differ_and_name_their_cause() -> None:
    alerts = run(oracle(0.8))
    assert all(one.id != other.id for one, other in itertools.pairwise(alerts))
    assert all(alert.id.endswith(f":{alert.cause.offset}:0") for alert in alerts)
