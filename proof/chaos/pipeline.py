"""The whole pipeline as a scenario: a feed with known labels, from feed event to alert."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from proof.chaos import derived
from proof.chaos.checker import Check
from proof.chaos.feeder import Event
from proof.chaos.history import Announced, Isolation, Seen, Source, Stage, Verdict
from proof.chaos.observer import Observer
from proof.chaos.scenario import time_of
from schemas import envelope
from schemas.events import (
    Cause,
    DeadLetter,
    FeedEvent,
    KernelRequest,
    KernelResult,
    ModelVersion,
    Trend,
)
from schemas.topics import (
    ALERTS,
    DEAD_LETTERS,
    FEED_EVENTS,
    MODELS,
    OUTBOX,
    REQUESTS,
    RESULTS,
    TRENDS,
)
from streams.message import Message

VERDICTS: Final = Stage("verdicts", FEED_EVENTS.name)
TRENDING: Final = Stage("trends", RESULTS.name)

TICKERS: Final = 32
_TEXTS: Final = 997
"""So many different texts: the kernel's cache must not outlive a swap."""
_OWED: Final = "chaos-owed"
_WANTED: Final = "chaos-wanted"
"""Headers by which the feed says what it expects; the product does not know them."""
_POISON: Final = (
    *("not-json", "wrong-type", "empty", "explode", "tomorrow", "tombstone"),
    "exhaust",
)
_SPAN: Final = timedelta(hours=12)
"""Event time runs from half a day ago up to now, so that windows and alerts come to pass."""

_RESULT: Final = msgspec.json.Decoder(KernelResult)
_TREND: Final = msgspec.json.Decoder(Trend)
_REQUEST: Final = msgspec.json.Decoder(KernelRequest)
_LETTER: Final = msgspec.json.Decoder(DeadLetter)
_MODEL: Final = msgspec.json.Decoder(ModelVersion)


class Pipeline:
    """Feed events about `TICKERS` companies; a burst of bad news about one of them now and then."""

    def __init__(self, seed: int, expected: int) -> None:
        self.stages = [VERDICTS, TRENDING]
        self.feed = FEED_EVENTS.name
        self.watched = [topic.name for topic in (RESULTS, DEAD_LETTERS, TRENDS, ALERTS)]
        self.topics = [self.feed, REQUESTS["standard"].name, OUTBOX.name, *self.watched]
        self.checks: tuple[Check, ...] = derived.CHECKS
        self._seed = seed
        self._begin = datetime.now(UTC) - _SPAN
        self._step = _SPAN / max(expected, 1)

    def event(self, number: int) -> Event:
        """A headline about no, one or two companies; one in a hundred is poison."""
        chance = random.Random(self._seed * 1_000_003 + number)
        if chance.random() < 0.01:
            return self._poison(number, chance, chance.choice(_POISON))
        name = f"{self._seed}-{number}"
        about = [self._ticker(chance.randrange(TICKERS))]
        roll = chance.random()
        if roll < 0.05:
            about = []
        elif roll < 0.15:
            other = self._ticker(chance.randrange(TICKERS))
            about += [other] if other not in about else []
        event = FeedEvent(
            id=name,
            text=f"{number % _TEXTS} is {self._mood(about, number, chance)} news",
            tickers=about or [],
            source="chaos",
            published_at=self._time(number, chance),
        )
        value, headers = envelope.encode(event, "chaos")
        key = f"s{chance.randrange(64)}".encode()
        return Event(name, expecting(key, value, headers, len(about), "result"))

    def poison(self, number: int, how: str = "") -> Event:
        """An event that ends as a dead letter; without `how`, of each kind in turn."""
        chance = random.Random(self._seed * 7 + number)
        return self._poison(10_000_000 + number, chance, how or _POISON[number % len(_POISON)])

    def _poison(self, number: int, chance: random.Random, how: str) -> Event:
        name = f"{self._seed}-{number}"
        body: dict[str, Any] = {"id": name, "text": "good", "tickers": [self._ticker(number)]}
        body["published_at"] = datetime.now(UTC).isoformat()
        if how == "wrong-type":
            body["text"] = 7
        elif how == "empty":
            body["text"] = " "
        elif how in {"explode", "exhaust"}:  # words of the tiny model
            body["text"] = f"{number} {how}"
        elif how == "tomorrow":
            body["published_at"] = (datetime.now(UTC) + timedelta(days=3)).isoformat()
        value: bytes | None = orjson.dumps(body)
        if how == "not-json":
            value = b"\xff{" + name.encode()
        elif how == "tombstone":
            value = None
        headers = [("ce_id", name.encode())]
        key = f"s{chance.randrange(64)}".encode()
        return Event(name, expecting(key, value, headers, 1, "dead-letter"))

    def _ticker(self, number: int) -> str:
        return f"CHA{number % TICKERS:02}"

    def _mood(self, about: list[str], number: int, chance: random.Random) -> str:
        # Every 2,000 events the bad luck moves on to the next company.
        unlucky = self._ticker(number // 2_000 * 5 + self._seed)
        if unlucky in about:
            return "bad" if chance.random() < 0.95 else "good"
        return chance.choice(["good", "good", "plain", "bad"])

    def _time(self, number: int, chance: random.Random) -> datetime:
        """Event time; one in fifty is late, one in five hundred has a clock that is ahead."""
        time = self._begin + self._step * number
        roll = chance.random()
        if roll < 0.02:
            return time - timedelta(minutes=chance.randrange(1, 180))
        if roll < 0.022:
            return time + timedelta(minutes=chance.randrange(1, 20))
        return time

    def decode(self, record: Any, reader: str, isolation: Isolation, final: bool) -> Seen:
        """What a record of any topic of the pipeline says."""
        base = Seen(
            reader=reader,
            isolation=isolation,
            final=final,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            id=_header(record, "ce_id"),
            key=(record.key or b"").decode("utf-8", "replace"),
            at=time_of(record),
        )
        if record.topic == FEED_EVENTS.name:
            wanted: Verdict = "result" if _header(record, _WANTED) == "result" else "dead-letter"
            return msgspec.structs.replace(
                base, owed=int(_header(record, _OWED) or 1), wanted=wanted
            )
        if not final or isolation == "uncommitted":
            return _staged(base)
        if record.topic == RESULTS.name:
            return _result(base, record.value)
        if record.topic == TRENDS.name:
            cause = _TREND.decode(record.value).cause
            return msgspec.structs.replace(
                _staged(base),
                verdict="result",
                source=_source(cause),
                body=msgspec.Raw(record.value),
            )
        if record.topic == DEAD_LETTERS.name:
            return _letter(base, _LETTER.decode(record.value))
        return base

    async def everything(self, observer: Observer) -> list[Seen | Announced]:
        """All topics at both levels, and what the registry announced."""
        raw = await observer.everything(self.topics, "uncommitted")
        seen = await observer.everything(self.topics, "committed")
        live = [
            Announced(model.task, model.version)
            for model in [
                _MODEL.decode(record.value)
                for record in await observer.records([MODELS.name])
                if record.value is not None
            ]
            if model.state == "live"
        ]
        return [*raw, *seen, *live]


def expecting(
    key: bytes, value: bytes | None, headers: list[tuple[str, bytes]], owed: int, wanted: Verdict
) -> Message:
    """A record of the feed that says how many answers it is owed, and of which kind."""
    expects = [(_OWED, str(owed).encode()), (_WANTED, wanted.encode())]
    return Message(FEED_EVENTS.name, key, value, [*headers, *expects])


def _header(record: Any, name: str) -> str:
    return (dict(record.headers).get(name) or b"").decode()


def _source(cause: Cause) -> Source:
    return Source(cause.topic, cause.partition, cause.offset, cause.index)


def _staged(base: Seen) -> Seen:
    """The stage of an answer by its topic alone, as far as that tells."""
    stage = {RESULTS.name: VERDICTS.name, TRENDS.name: TRENDING.name}.get(base.topic, "")
    return msgspec.structs.replace(base, stage=stage)


def _result(base: Seen, value: bytes) -> Seen:
    result = _RESULT.decode(value)
    return msgspec.structs.replace(
        base,
        stage=VERDICTS.name,
        verdict="result",
        source=None if result.cause is None else _source(result.cause),
        task=result.task,
        version=result.model_version,
        body=msgspec.Raw(value),
    )


def _letter(base: Seen, letter: DeadLetter) -> Seen:
    """A dead letter answers the feed event behind it, or the result that an agent refused."""
    at = letter.source
    stage, source = VERDICTS.name, Source(at.topic, at.partition, at.offset, None)
    if at.topic.startswith("kernel.requests."):
        cause = _REQUEST.decode(at.value or b"").cause
        source = source if cause is None else _source(cause)
    elif at.topic == RESULTS.name:
        stage = TRENDING.name if letter.service == "finance.trends" else letter.service
    return msgspec.structs.replace(base, stage=stage, verdict="dead-letter", source=source)
