"""Robustness and fairness: what changes that leave the meaning alone do to the labels.

Checks by perturbation, after Ribeiro et al. (2020), "Beyond Accuracy: Behavioral Testing of NLP
Models with CheckList"; counterfactual names after Garg et al. (2019), "Counterfactual Fairness
in Text Classification through Robustness". Every change is a function of the row, so that all
versions are tried on the same texts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from trainer.dataset import Row

Change = Callable[[Row], Row]

NAME_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "symbols": ("QXN", "VZK", "JWLT"),
    "English": ("Meadow Tools", "Harbourside Foods", "Granitefield Bank"),
    "Nordic": ("Sjövikens Bruk", "Fjellheim Kraft", "Kallioranta"),
    "South Asian": ("Chandravati Mills", "Vaishalika Motors", "Sundarpur Steel"),
    "East Asian": ("Haruyama Denkō", "Jinlongwan Guangdian", "Seobuk Hwahak"),
    "African": ("Adeyanju Textiles", "Nkosazi Freight", "Wanjirani Tea"),
    "Latin": ("Cervantina e Hijos", "Azulejaria Moura", "Officine Bellorini"),
}
"""Names of no real company, to stand in for the one that a row is about."""

_MEANING_THE_SAME: Final[dict[str, str]] = {
    "rises": "goes up",
    "rise": "go up",
    "rose": "went up",
    "falls": "goes down",
    "fall": "go down",
    "fell": "went down",
    "says": "states",
    "said": "stated",
    "will": "is going to",
    "after": "following",
    "because": "since",
    "about": "around",
    "big": "large",
    "buys": "purchases",
    "shows": "displays",
    "starts": "begins",
    "ends": "finishes",
    "gets": "receives",
    "can't": "cannot",
    "don't": "do not",
    "doesn't": "does not",
    "isn't": "is not",
    "won't": "will not",
    "I'm": "I am",
    "it's": "it is",
}
_GENDERED: Final[dict[str, str]] = {
    "he": "she",
    "him": "her",
    "his": "her",
    "man": "woman",
    "men": "women",
    "chairman": "chairwoman",
    "mr": "ms",
    "father": "mother",
    "son": "daughter",
}
_SWAPPED: Final = (
    _GENDERED | {new: old for old, new in _GENDERED.items() if new != "her"} | {"her": "his"}
)
_WORD: Final = re.compile(r"[\w']+")
_TYPO_EVERY: Final = 6
"""Words for each one that is misspelled."""
_TYPO_LETTERS: Final = 4


def typos(row: Row) -> Row:
    """Two letters change places in one word of six, at least in one; never in the target."""
    spared = set(_WORD.findall((row.target or "").casefold()))
    words = [
        found
        for found in _WORD.finditer(row.text)
        if len(found.group()) >= _TYPO_LETTERS
        and found.group().isalpha()
        and found.group().casefold() not in spared
    ]
    rng = random.Random(hashlib.sha256(row.text.encode()).digest())
    text = row.text
    number = min(len(words), max(1, len(words) // _TYPO_EVERY))
    for found in rng.sample(words, number):
        at = found.start() + rng.randrange(1, len(found.group()) - 2)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return dataclasses.replace(row, text=text)


def lower_case(row: Row) -> Row:
    """All in small letters."""
    return dataclasses.replace(row, text=row.text.lower())


def upper_case(row: Row) -> Row:
    """All in capitals."""
    return dataclasses.replace(row, text=row.text.upper())


def reworded(row: Row) -> Row:
    """Some words replaced by others of their meaning; a short frame where none is known."""
    text = _replaced(row.text, _MEANING_THE_SAME)
    return dataclasses.replace(row, text=f"Update: {row.text}" if text == row.text else text)


def gender_swapped(row: Row) -> Row:
    """He for she, and so on, both ways."""
    return dataclasses.replace(row, text=_replaced(row.text, _SWAPPED))


def renamed(group: str) -> Change:
    """The target of a row, and its mentions, under a name of `group`."""
    names = NAME_GROUPS[group]

    def change(row: Row) -> Row:
        if row.target is None:
            return row
        pick = hashlib.sha256(f"{row.target}\0{row.text}".encode()).digest()[0]
        name = names[pick % len(names)]
        mention = rf"(?<!\w){re.escape(row.target)}(?!\w)"
        text, found = re.subn(mention, lambda _: name, row.text, flags=re.IGNORECASE)
        return dataclasses.replace(row, text=text, target=name) if found else row

    return change


PERTURBATIONS: Final[dict[str, Change]] = {
    "typos": typos,
    "lower case": lower_case,
    "upper case": upper_case,
    "reworded": reworded,
}
COUNTERFACTUALS: Final[dict[str, Change]] = {
    **{f"named as {group}": renamed(group) for group in NAME_GROUPS},
    "gender swapped": gender_swapped,
}


def changed(rows: Sequence[Row], change: Change) -> Iterator[tuple[int, Row]]:
    """Index and new row of those rows that `change` does anything to."""
    for index, row in enumerate(rows):
        new = change(row)
        if (new.text, new.target) != (row.text, row.target):
            yield index, new


def contrasted(rows: Sequence[Row]) -> list[int]:
    """Indices of rows whose text is also asked about another target, with another label.

    Who answers by the text alone is wrong on at least one of each such pair.
    """
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.text, set()).add(row.label)
    return [index for index, row in enumerate(rows) if len(labels[row.text]) > 1]


def _replaced(text: str, table: dict[str, str]) -> str:
    def other(found: re.Match[str]) -> str:
        word = found.group()
        new = table.get(word) or table.get(word.lower())
        if new is None:
            return word
        return new.capitalize() if word[0].isupper() and new[0].islower() else new

    return _WORD.sub(other, text)
