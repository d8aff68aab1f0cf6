"""Trends and alerts are judged by their definitions, over the results as they stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from agents.finance.alerts import Alerts
from agents.finance.trends import Trends
from agents.runtime import Agent, Context
from proof.chaos import derived
from proof.chaos.checker import History
from proof.chaos.history import Seen
from schemas.envelope import Position, to_json
from schemas.events import Event, KernelResult
from schemas.topics import ALERTS, RESULTS, TRENDS, Topic

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
AT_MS = int(START.timestamp() * 1000)
COUNT = 60


def entry(topic: Topic, offset: int, event: Event, key: str) -> Seen:
    return Seen("end", "committed", True, topic.name, 0, offset, event.id, key, AT_MS,
                body=msgspec.Raw(to_json(event)))  # fmt: skip


def result(number: int) -> KernelResult:
    """Good news about two companies, until the second half is bad for one of them."""
    ticker = "AB"[number % 2]
    good = ticker == "A" or number < COUNT // 2
    scores = {"negative": 0.05, "neutral": 0.05, "positive": 0.9}
    if not good:
        scores = {"negative": 0.9, "neutral": 0.05, "positive": 0.05}
    return KernelResult(
        id=f"r{number}", request_id=f"q{number}", task="sentiment", thread=ticker,
        label="positive" if good else "negative", scores=scores, model_version="v", precision="x",
        excerpt="text", published_at=START + timedelta(minutes=number),
    )  # fmt: skip


def said(agent: Agent[KernelResult, object], topic: Topic, results: list[Seen]) -> list[Seen]:
    states: dict[str, object] = {}
    found: list[Seen] = []
    for seen in results:
        event = msgspec.json.decode(seen.body, type=KernelResult)
        position = Position(seen.topic, seen.partition, seen.offset, seen.at)
        before = states.get(seen.key)
        states[seen.key], emits = agent.process(
            event, before, Context(agent.name, position, seen.key)
        )
        found += [
            entry(topic, len(found) + index, emit.event, emit.key)
            for index, emit in enumerate(emits)
        ]
    return found


RESULTS_SEEN = [entry(RESULTS, number, result(number), "AB"[number % 2]) for number in range(COUNT)]
TRENDS_SEEN = said(Trends(), TRENDS, RESULTS_SEEN)  # type: ignore[arg-type]
ALERTS_SEEN = said(Alerts(), ALERTS, RESULTS_SEEN)  # type: ignore[arg-type]


def kinds(*entries: Seen) -> set[str]:
    history = History.of(entries)
    return {found.kind for check in derived.CHECKS for found in check(history)}


def test_what_the_agents_say_is_right_and_there_is_an_alert_in_it() -> None:
    assert len(ALERTS_SEEN) == 1
    assert kinds(*RESULTS_SEEN, *TRENDS_SEEN, *ALERTS_SEEN) == set()


def test_a_trend_over_other_results_than_there_are_differs() -> None:
    fewer = RESULTS_SEEN[2:]  # its last trend counts two results that nobody sees
    alerts = said(Alerts(), ALERTS, fewer)  # type: ignore[arg-type]
    assert kinds(*fewer, *TRENDS_SEEN, *alerts) == {"trend-differs"}


def test_an_older_trend_written_last_differs() -> None:
    late = msgspec.structs.replace(TRENDS_SEEN[-3], offset=10_000)
    assert kinds(*RESULTS_SEEN, *TRENDS_SEEN, late, *ALERTS_SEEN) == {"trend-differs"}


def test_an_alert_that_is_not_raised_is_missing() -> None:
    assert kinds(*RESULTS_SEEN, *TRENDS_SEEN) == {"alert-missing"}


def test_an_alert_raised_twice_is_doubled() -> None:
    twin = msgspec.structs.replace(ALERTS_SEEN[0], offset=10_000)
    assert kinds(*RESULTS_SEEN, *TRENDS_SEEN, *ALERTS_SEEN, twin) == {"alert-doubled"}


def test_an_alert_that_the_results_do_not_give_is_unfounded() -> None:
    other = msgspec.structs.replace(ALERTS_SEEN[0], offset=10_000, id="made up")
    assert kinds(*RESULTS_SEEN, *TRENDS_SEEN, *ALERTS_SEEN, other) == {"alert-unfounded"}
