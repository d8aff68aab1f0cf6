"""Which companies a text is about: given tickers, else cashtags, else names from a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STARTER: Final = Path(__file__).parent / "starter" / "companies.csv"
MAX_TARGETS: Final = 64
"""Targets of one event at most: a longer list is a dump of symbols, not news about them."""

_CASHTAG: Final = re.compile(r"\$([A-Za-z]{1,6}(?:[.\-][A-Za-z]{1,2})?)(?![\w$])")
_WORD: Final = re.compile(r"\w+(?:['\u2019&.\-]\w+)*")
_SEPARATORS: Final = re.compile(r"[;|]")


@dataclass(frozen=True, slots=True)
class Target:
    """A company, and the words in the text that stand for it."""

    ticker: str
    words: str


def normalise(tickers: Iterable[str]) -> list[str]:
    """Upper case, without `$`, each once, in order; empty ones left out."""
    found = (ticker.strip().lstrip("$").strip().upper() for ticker in tickers)
    return list(dict.fromkeys(ticker for ticker in found if ticker))


class Entities:
    """A table of companies: ticker, name, aliases.

    Names are looked up by their first word in a hash, then compared word by word,
    longest name first: the time is that of splitting the text, whatever the number
    of names. A name counts only with the capitals it is written with, or in
    all capitals, so that a company called Stripe is not found in a striped shirt.
    """

    def __init__(self, rows: Iterable[tuple[str, list[str]]]) -> None:
        self._names: dict[str, list[str]] = {}
        self._by_first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self._firsts: dict[str, set[str]] = {}
        """First words of a ticker's names: a text without any of them does not name it."""
        for given, names in rows:
            (ticker,) = normalise([given]) or [""]
            if not ticker:
                continue
            kept = [name.strip() for name in names if name.strip()]
            self._names.setdefault(ticker, []).extend(kept)
            for name in kept:
                words = tuple(_WORD.findall(name))
                for form in {words, tuple(word.upper() for word in words)}:
                    if form:
                        self._by_first.setdefault(form[0], []).append((form, ticker))
                        self._firsts.setdefault(ticker, set()).add(form[0])
        for forms in self._by_first.values():
            forms.sort(key=lambda form: -len(form[0]))

    @classmethod
    def load(cls, path: Path) -> Entities:
        """Read a CSV with the columns `ticker`, `name` and, if present, `aliases`.

        Aliases are separated by `;` or `|`.

        Raises:
            OSError: the file cannot be read.
            ValueError: a column is missing.
        """
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"ticker", "name"} - set(reader.fieldnames or ())
            if missing:
                msg = f"{path}: no column {', '.join(sorted(missing))}; needs ticker,name[,aliases]"
                raise ValueError(msg)
            return cls(
                (
                    row["ticker"] or "",
                    [row["name"] or "", *_SEPARATORS.split(row.get("aliases") or "")],
                )
                for row in reader
            )

    def find(self, text: str, tickers: Iterable[str] = ()) -> list[Target]:
        """The companies that `text` is about, each once, at most `MAX_TARGETS`.

        Tickers that the publisher gave settle it. Without any, cashtags and names
        in the text are taken together, in that order. A ticker that the table does
        not know is its own target.
        """
        given = normalise(tickers)[:MAX_TARGETS]
        if given:
            return [Target(ticker, self._words_for(ticker, text)) for ticker in given]
        found: dict[str, str] = {}
        for match in _CASHTAG.finditer(text):
            found.setdefault(match[1].upper(), match[0])
        for ticker, words in self._named(text):
            found.setdefault(ticker, words)
        return [Target(ticker, words) for ticker, words in found.items()][:MAX_TARGETS]

    def _named(self, text: str) -> Iterable[tuple[str, str]]:
        words = list(_WORD.finditer(text))
        skip_to = 0
        for index, match in enumerate(words):
            if index < skip_to:
                continue
            for form, ticker in self._by_first.get(_bare(match[0]), ()):
                last = index + len(form) - 1
                if last < len(words) and all(
                    _bare(words[index + step][0]) == word for step, word in enumerate(form)
                ):
                    end = words[last].start() + len(_bare(words[last][0]))
                    yield ticker, text[match.start() : end]
                    skip_to = last + 1
                    break

    def _words_for(self, ticker: str, text: str) -> str:
        """How the text calls a given ticker: its cashtag, a name of it, else its first name."""
        for match in _CASHTAG.finditer(text):
            if match[1].upper() == ticker:
                return match[0]
        names = self._names.get(ticker)
        if not names:
            return ticker
        if not any(first in text for first in self._firsts.get(ticker, ())):
            return names[0]
        return next((words for known, words in self._named(text) if known == ticker), names[0])


def _bare(word: str) -> str:
    """A word without a possessive ending."""
    return word[:-2] if word[-2:] in {"'s", "\u2019s"} else word
