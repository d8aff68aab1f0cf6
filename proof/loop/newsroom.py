"""The feed of the closed loop: headlines whose right label is known, and sayings that are new.

Most headlines come from the starter's own labelled ones. One in seven says something in a
slang that no starter label contains, so that the first model gets it wrong and people have
something to correct. Poison and events about nobody stand in between, as in `proof.chaos`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from agents.finance.entities import STARTER
from kernel.registry import Registry
from proof.chaos.feeder import Event
from proof.chaos.history import Announced, Isolation, Seen
from proof.chaos.observer import Observer
from proof.chaos.pipeline import Pipeline, expecting
from schemas import envelope
from schemas.events import FeedEvent, KernelResult, ModelVersion
from schemas.ids import model_key
from schemas.tasks import SENTIMENT
from schemas.topics import MODELS, RESULTS

SLANG: Final = {
    "positive": (
        "prints tendies",
        "has holders dancing on tables",
        "is giving diamond hands",
        "went full rocket emoji",
    ),
    "negative": (
        "got rugged",
        "left bagholders weeping",
        "is pure clown shoes",
        "went full dumpster fire",
    ),
}
"""What no starter label says, by what it means."""
TAILS: Final = (
    "today", "this morning", "again", "after the bell", "says the desk", "on the open",
    "in one session", "and nobody blinked", "for the second day", "before lunch",
)  # fmt: skip
STRANGE: Final = "meteor"
"""One token of the backbone: the word that the good-looking version cannot read."""
SHARE_OF_SLANG: Final = 1 / 7
SHARE_OF_STRANGE: Final = 0.15
_POISON: Final = ("not-json", "wrong-type", "empty", "tomorrow", "tombstone")
_RESULT: Final = msgspec.json.Decoder(KernelResult)
_MODEL: Final = msgspec.json.Decoder(ModelVersion)


class Newsroom(Pipeline):
    """Events by number; `strange` may be switched on while it is read."""

    def __init__(self, seed: int, expected: int) -> None:
        super().__init__(seed, expected)
        self._companies = _rows("companies.csv")
        names = {
            name: row["ticker"]
            for row in self._companies
            for name in (row["name"], *row["aliases"].split("|"), f"${row['ticker']}")
        }
        self._known = [
            (row["text"], names[row["target"]], row["label"])
            for row in _rows("labels.csv")
            if row["target"] in names
        ]
        self.strange = False
        self.labels: dict[str, tuple[str, bool]] = {}
        """By event id: the right label, and whether it is slang."""

    def event(self, number: int) -> Event:
        """A headline about one company; one in a hundred is poison."""
        chance = random.Random(self._seed * 1_000_003 + number)
        if chance.random() < 0.01:
            return self._poison(number, chance, chance.choice(_POISON))
        name = f"{self._seed}-{number}"
        slang = chance.random() < SHARE_OF_SLANG
        if slang:
            company = chance.choice(self._companies)
            text, label = _said(chance, company["name"])
            ticker = company["ticker"]
        else:
            text, ticker, label = chance.choice(self._known)
        if self.strange and chance.random() < SHARE_OF_STRANGE:
            text = f"{text} while a {STRANGE} passes"
        self.labels[name] = (label, slang)
        event = FeedEvent(
            id=name,
            text=f"{text} ({number})",  # or the result cache would answer most of the feed
            tickers=[ticker],
            source="newsroom",
            published_at=self._time(number, chance),
        )
        value, headers = envelope.encode(event, "loop")
        key = f"s{chance.randrange(64)}".encode()
        return Event(name, expecting(key, value, headers, 1, "result"))

    def poison(self, number: int, how: str = "") -> Event:
        """An event that ends as a dead letter: of the kinds that need no model of their own."""
        return super().poison(number, how or _POISON[number % len(_POISON)])

    def corrections(self, count: int) -> list[dict[str, str]]:
        """What people publish who have read the first model's verdicts on slang."""
        chance = random.Random(self._seed)
        found: dict[str, dict[str, str]] = {}
        while len(found) < count:
            company = chance.choice(self._companies)["name"]
            text, label = _said(chance, company)
            found[text] = {"text": text, "target": company, "label": label}
        return list(found.values())

    def wrong(self, count: int) -> list[dict[str, str]]:
        """As many labels that are wrong: of the starter's own rows, and of slang."""
        turned = {"positive": "negative", "negative": "neutral", "neutral": "positive"}
        rows = [*_rows("labels.csv"), *self.corrections(count)][:count]
        return [
            {"text": row["text"], "target": row["target"], "label": turned[row["label"]]}
            for row in rows
        ]

    def _ticker(self, number: int) -> str:
        return self._companies[number % len(self._companies)]["ticker"]

    def decode(self, record: Any, reader: str, isolation: Isolation, final: bool) -> Seen:
        """As the pipeline, but versions are followed for each thread: canaries have some alone.

        An answer whose version was not chosen by the route is left out of that walk.
        """
        seen = super().decode(record, reader, isolation, final)
        if record.topic != RESULTS.name or not seen.version:
            return seen
        result = _RESULT.decode(record.value)
        return msgspec.structs.replace(
            seen,
            task=_walk(result.task, result.thread),
            version=seen.version if result.chosen_by == "route" else "",
        )

    async def everything(self, observer: Observer) -> list[Seen | Announced]:
        """All topics, and for each thread the versions that the registry let answer it."""
        both = [
            entry
            for entry in await super().everything(observer)
            if not isinstance(entry, Announced)
        ]
        steps = routes(
            _MODEL.decode(record.value)
            for record in await observer.records([MODELS.name])
            if record.value is not None
        )
        walks = [
            Announced(_walk(SENTIMENT.name, company["ticker"]), version)
            for company in self._companies
            for version in steps
        ]
        return [*both, *walks]


def routes(changes: Iterable[ModelVersion]) -> list[str]:
    """The versions that a thread may see one after the other, as the registry changes."""
    known = Registry()
    before: tuple[str, ...] = ()
    found: list[str] = []
    for change in changes:
        known.apply(model_key(change.task, change.version), change)
        live, canary = known.live(SENTIMENT.name), known.canary(SENTIMENT.name)
        now = tuple(one.version for one in (canary, live) if one is not None)
        if now != before and now:
            found.append(now[0])
        before = now
    return found


def _walk(task: str, thread: str) -> str:
    return f"{task} of {thread}"


def _said(chance: random.Random, company: str) -> tuple[str, str]:
    label = chance.choice(list(SLANG))
    return f"{company} {chance.choice(SLANG[label])} {chance.choice(TAILS)}", label


def _rows(name: str) -> list[dict[str, str]]:
    with STARTER.with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
