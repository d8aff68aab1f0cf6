"""What is asked in a benchmark: texts of a feed, or made-up ones of the same lengths as tweets."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.finance.entities import STARTER
from proof.bench import feed as feeds

SEED: Final = 11
_WORDS_LOG_MEAN: Final = 3.09
_WORDS_LOG_DEVIATION: Final = 0.45
_FEWEST_WORDS: Final = 4
_MOST_WORDS: Final = 90
"""Log-normal lengths: a mean of some 39 tokens under the starter model, as tweets have."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text, and the company that it is asked about; `ticker` is the thread."""

    text: str
    target: str
    ticker: str


def questions(feed: Path | None, count: int, *, skip: int = 0) -> list[Question]:
    """`count` different questions: of a CSV feed, else made up; `skip` passes over as many.

    Raises:
        ValueError: the feed lacks a column, or holds fewer.
    """
    if feed is None:
        return made_up(count, skip=skip)
    found = list(
        dict.fromkeys(
            Question(text, target, f"T{hash_of(target)}")
            for text, target in feeds.load(feed, None).pairs
        )
    )[skip : skip + count]
    if len(found) < count:
        have = skip + len(found)
        raise ValueError(f"{feed} holds {have} different questions, not {skip + count}")
    return found


def hash_of(words: str) -> int:
    """A thread's number from the words that name it; the same in every process."""
    return sum((place + 1) * byte for place, byte in enumerate(words.encode())) % 500


def made_up(count: int, *, skip: int = 0) -> list[Question]:
    """The same for the same arguments; runs of different `skip` share no text."""
    companies = _rows(STARTER)
    words = [word for row in _rows(STARTER.with_name("feed.csv")) for word in row["text"].split()]
    chance = random.Random(SEED)  # skipped ones are drawn too, so that they stay different
    seen: dict[Question, None] = {}
    while len(seen) < skip + count:
        seen[_one(chance, companies, words)] = None
    return list(seen)[skip:]


def _one(chance: random.Random, companies: list[dict[str, str]], words: list[str]) -> Question:
    company = chance.choice(companies)
    length = round(chance.lognormvariate(_WORDS_LOG_MEAN, _WORDS_LOG_DEVIATION))
    length = max(_FEWEST_WORDS, min(_MOST_WORDS, length))
    said: list[str] = []
    while len(said) < length:  # runs of a few words read like language to a tokenizer
        place = chance.randrange(len(words) - 8)
        said += words[place : place + chance.randint(2, 8)]
    return Question(" ".join(said[:length]), company["name"], company["ticker"])


def write_feed(path: Path, count: int, *, repeats: float = 0.0) -> Path:
    """A CSV feed of made-up events, for commands that read one; `repeats` of them said twice."""
    asked = made_up(count)
    chance = random.Random(SEED)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "published_at", "source", "tickers", "text"))
        for number, one in enumerate(with_repeats(asked, repeats, chance)):
            at = f"2026-03-02T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
            writer.writerow((f"made-{number}", at, "made-up", one.ticker, one.text))
    return path


def with_repeats(asked: list[Question], share: float, chance: random.Random) -> Iterator[Question]:
    """As many questions, of which about `share` were asked before."""
    said: list[Question] = []
    fresh = iter(asked)
    for _ in asked:
        if said and chance.random() < share:
            yield chance.choice(said)
        else:
            said.append(next(fresh))
            yield said[-1]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
