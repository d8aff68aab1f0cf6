"""The starter feed with fixed verdicts on every topic: what a console shows after a day's work.

No model is needed: a list of words decides, so the same feed always tells the same story.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agents.finance.entities import STARTER, Entities
from console.demo import feed_events
from schemas.events import (
    Alert,
    Cause,
    DeadLetter,
    Event,
    FeedEvent,
    Headline,
    KernelRequest,
    KernelResult,
    KernelTimings,
    LabelledExample,
    ModelVersion,
    SourceRecord,
    Trend,
    TrendWindow,
)
from schemas.ids import dead_letter_id, emission_id, label_id, model_key, result_id
from schemas.topics import (
    ALERTS,
    DEAD_LETTERS,
    FEED_EVENTS,
    LABELS,
    MODELS,
    REQUESTS,
    RESULTS,
    TRENDS,
    Topic,
)
from streams import cluster
from streams.message import Message
from streams.settings import Settings

_GOOD = """rose rise rises up win wins beats raises raised record growth gains gained strong joined
higher lifts best ahead profit approval approves upgrade upgrades expands completes welcome firm"""
_BAD = """loss losses weak weaker fall falls slips cut cuts down lower delay delays recall probe
fire drops tumbles tumble warns warning strike halt halts fine misses pressure downgrade
worst fears"""
GOOD, BAD = frozenset(_GOOD.split()), frozenset(_BAD.split())
LABELS_OF = ("negative", "neutral", "positive")
VERSION = "20260304-080000-5a17"


@dataclass
class Told:
    """Counts of what was published."""

    events: int = 0
    results: int = 0
    alerts: int = 0
    letters: int = 0
    labels: int = 0
    tickers: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def judge(text: str, target: str) -> dict[str, float]:
    """Fixed probabilities, by words, with a little that depends on the target."""
    words = {word.strip(".,;:!?\"'").lower() for word in text.split()}
    good, bad = len(words & GOOD), len(words & BAD)
    weights = [1 + 4 * bad, 2.0, 1 + 4 * good + sum(map(ord, target)) % 5 / 10]
    total = sum(weights)
    return {
        label: round(weight / total, 6) for label, weight in zip(LABELS_OF, weights, strict=True)
    }


async def tell(settings: Settings, events: Iterable[FeedEvent] | None = None) -> Told:
    """Publish the story; returns when every record is acknowledged."""
    told = Told()
    producer = cluster.producer(settings)
    await producer.start()

    async def say(topic: Topic, key: str, event: Event) -> tuple[int, int]:
        future = await Message.of(topic, key.encode(), event, "story").send(producer)
        at = await future
        return int(at.partition), int(at.offset)

    try:
        found = Entities.load(STARTER)
        chosen = list(feed_events() if events is None else events)
        told.events = len(chosen)
        scored: dict[str, list[KernelResult]] = defaultdict(list)
        by_id: dict[str, tuple[int, int]] = {}
        for event in chosen:
            place = await say(FEED_EVENTS, event.source or event.id, event)
            requests = list(_requests(found, event, place))
            await asyncio.gather(*(say(REQUESTS["standard"], one.thread, one) for one in requests))
            results = [_result(one, event) for one in requests]
            at = await asyncio.gather(*(say(RESULTS, one.thread, one) for one in results))
            for result, where in zip(results, at, strict=True):
                by_id[result.id] = where
                scored[result.thread].append(result)
                told.tickers[result.thread] += 1
            trends = [_trend(one.thread, scored[one.thread], by_id) for one in results]
            await asyncio.gather(*(say(TRENDS, one.ticker, one) for one in trends))
        told.results = len(by_id)
        alerts = _alerts(scored, by_id)
        await asyncio.gather(*(say(ALERTS, one.ticker, one) for one in alerts))
        told.alerts = len(alerts)
        letters = _letters()
        await asyncio.gather(*(say(DEAD_LETTERS, "desk", one) for one in letters))
        told.letters = len(letters)
        for version in _models():
            await say(MODELS, model_key(version.task, version.version), version)
        labels = _labels(chosen[:12], found)
        await asyncio.gather(*(say(LABELS, one.id, one) for one in labels))
        told.labels = len(labels)
    finally:
        await producer.stop()
    return told


def _requests(
    entities: Entities, event: FeedEvent, place: tuple[int, int]
) -> Iterable[KernelRequest]:
    for index, target in enumerate(_targets(entities, event)):
        cause = Cause("finance.reader", FEED_EVENTS.name, *place, index)
        yield KernelRequest(
            id=emission_id(cause),
            task="sentiment",
            text=event.text,
            thread=target,
            target=target,
            published_at=event.published_at,
            cause=cause,
        )


def _targets(entities: Entities, event: FeedEvent) -> list[str]:
    return [one.ticker for one in entities.find(event.text, event.tickers)]


def _result(request: KernelRequest, event: FeedEvent) -> KernelResult:
    scores = judge(request.text, request.thread)
    return KernelResult(
        id=result_id(request.id),
        request_id=request.id,
        task=request.task,
        thread=request.thread,
        target=request.target,
        label=max(scores, key=scores.__getitem__),
        scores=scores,
        model_version=VERSION,
        precision="int8",
        excerpt=request.text[:280],
        published_at=event.published_at,
        cause=request.cause,
        timings=KernelTimings(queued_ms=3.2, forward_ms=7.5),
    )


def _score(result: KernelResult) -> float:
    return result.scores["positive"] - result.scores["negative"]


def _window(results: list[KernelResult], before: list[KernelResult]) -> TrendWindow:
    def mean(some: list[KernelResult]) -> float:
        return sum(map(_score, some)) / len(some) if some else 0.0

    return TrendWindow(
        count=len(results),
        positive=sum(one.label == "positive" for one in results),
        neutral=sum(one.label == "neutral" for one in results),
        negative=sum(one.label == "negative" for one in results),
        mean=mean(results),
        momentum=mean(results) - mean(before),
    )


def _trend(ticker: str, results: list[KernelResult], places: dict[str, tuple[int, int]]) -> Trend:
    """The windows of a ticker after its newest result."""
    latest = results[-1]
    now = latest.published_at or datetime(2026, 3, 2, tzinfo=UTC)
    windows = {}
    for name, span in (("5m", 300), ("1h", 3600), ("1d", 86400)):
        since = timedelta(seconds=span)
        ages = [(now - (one.published_at or now), one) for one in results]
        inside = [one for age, one in ages if age <= since]
        older = [one for age, one in ages if since < age <= 2 * since]
        windows[name] = _window(inside, older)
    cause = Cause("finance.trends", RESULTS.name, *places[latest.id], 0)
    return Trend(
        id=emission_id(cause), ticker=ticker, as_of=now, windows=windows, late=False, cause=cause
    )


def _alerts(
    scored: dict[str, list[KernelResult]], places: dict[str, tuple[int, int]]
) -> list[Alert]:
    made = []
    for ticker, results in scored.items():
        bad = [one for one in results if one.label == "negative"][:3]
        if len(bad) < 3:
            continue
        part, offset = places[bad[-1].id]
        cause = Cause("finance.alerts", RESULTS.name, part, offset, 0)
        now = bad[-1].published_at or datetime(2026, 3, 2, tzinfo=UTC)
        made.append(
            Alert(
                id=emission_id(cause),
                ticker=ticker,
                raised_at=now,
                window_s=3600,
                count=len(bad),
                mean=sum(map(_score, bad)) / len(bad),
                baseline_mean=0.08,
                baseline_count=len(results),
                headlines=[
                    Headline(
                        result_id=one.id,
                        text=one.excerpt,
                        score=_score(one),
                        published_at=one.published_at or now,
                    )
                    for one in bad
                ],
                cause=cause,
            )
        )
    return made


def _letters() -> list[DeadLetter]:
    bodies = [
        ("not-json", "the body is not JSON: unexpected end of data", b'{"text": "Corwick'),
        ("wrong-type", "Object missing required field `text`", b'{"id": "x-17", "tekst": "up"}'),
        ("empty-text", "the text is empty", b'{"id": "x-18", "text": "  "}'),
        ("not-json", "the body is not JSON: invalid UTF-8", b"\xff\xfe\x00Driftwell"),
    ]
    return [
        DeadLetter(
            id=dead_letter_id("finance.reader", FEED_EVENTS.name, 0, 9_000 + number),
            error_class=name,
            reason=reason,
            service="finance.reader",
            versions={"headrace": "0.1.0"},
            source=SourceRecord(
                topic=FEED_EVENTS.name,
                partition=0,
                offset=9_000 + number,
                timestamp_ms=1_772_440_000_000 + number,
                key=b"desk",
                value=value,
                headers=[("content-type", b"application/json")],
            ),
            failed_at=datetime(2026, 3, 2, 9, number, tzinfo=UTC),
        )
        for number, (name, reason, value) in enumerate(bodies)
    ]


def _models() -> list[ModelVersion]:
    def version(name: str, state: str, accuracy: float, reason: str, at: datetime) -> ModelVersion:
        return ModelVersion(
            id=model_key("sentiment", name),
            task="sentiment",
            version=name,
            state=state,  # type: ignore[arg-type]
            labels=list(LABELS_OF),
            artefact=f"models/sentiment/{name}",
            digest="0" * 64,
            metrics={"accuracy": accuracy, "macro_f1": accuracy - 0.012, "ece": 0.041},
            reason=reason,
            changed_at=at,
        )

    day = datetime(2026, 3, 3, 8, tzinfo=UTC)
    return [
        version("20260303-080000-11c2", "retired", 0.812, f"replaced by {VERSION}", day),
        version(
            "20260303-180000-77de",
            "refused",
            0.731,
            "accuracy 0.731 is below the live version's 0.812",
            day + timedelta(hours=10),
        ),
        version(VERSION, "live", 0.851, "passed the gate", day + timedelta(days=1)),
    ]


def _labels(events: list[FeedEvent], entities: Entities) -> list[LabelledExample]:
    made = []
    for event in events:
        for target in _targets(entities, event)[:1]:
            scores = judge(event.text, target)
            made.append(
                LabelledExample(
                    id=label_id("sentiment", target, event.text),
                    task="sentiment",
                    text=event.text,
                    target=target,
                    label=max(scores, key=scores.__getitem__),
                    labeller="ada",
                    published_at=event.published_at,
                )
            )
    return made
