"""Leakage: rows to judge by that say almost what a row to learn from says.

Exact twins cannot be: the split is by the text without case, spacing and punctuation
(`trainer.dataset`). What remains are rewordings. Two texts are near duplicates if at least
`MIN_RESEMBLANCE` of their runs of three words are shared (resemblance of shingles: Broder, 1997,
"On the resemblance and containment of documents"); an index from shingle to text makes the
comparison exact, so that no hashing scheme is needed at these sizes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from trainer.dataset import Row

MIN_RESEMBLANCE: Final = 0.5
"""Share of shingles in common; at 0.5 two of ten words differ, at most."""
_WORDS: Final = 3
_MOST_SHARED: Final = 200
"""A shingle in more texts than this is a phrase of the trade, and finds no twins."""
_EXAMPLES: Final = 5
_WORD: Final = re.compile(r"\w+")


class Leakage(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on both sides."""

    exact: int
    """Held-back rows whose text is learned from, but for case, spacing and punctuation."""
    near: int
    """Held-back rows that resemble a row to learn from."""
    examples: list[tuple[str, str]]
    """Pairs of (held back, learned from)."""
    leaked: list[int]
    """Indices of these rows among the held-back ones."""


def check(train: Sequence[Row], held_back: Sequence[Row]) -> Leakage:
    """Look for each held-back text among the texts to learn from."""
    learned = {" ".join(_words(row.text)): row.text for row in train}
    sets = [(text, frozenset(_shingles(plain))) for plain, text in learned.items()]
    index: dict[str, list[int]] = defaultdict(list)
    for place, (_, shingles) in enumerate(sets):
        for shingle in shingles:
            index[shingle].append(place)
    exact = 0
    leaked: list[int] = []
    examples: list[tuple[str, str]] = []
    for number, row in enumerate(held_back):
        plain = " ".join(_words(row.text))
        if plain in learned:
            exact += 1
            leaked.append(number)
            continue
        twin = _twin(frozenset(_shingles(plain)), sets, index)
        if twin is not None:
            leaked.append(number)
            if len(examples) < _EXAMPLES:
                examples.append((row.text, twin))
    return Leakage(exact=exact, near=len(leaked) - exact, examples=examples, leaked=leaked)


def _twin(
    own: frozenset[str], sets: list[tuple[str, frozenset[str]]], index: dict[str, list[int]]
) -> str | None:
    """The text most like `own`, if it is like enough."""
    shared: Counter[int] = Counter()
    for shingle in own:
        places = index.get(shingle, ())
        if len(places) <= _MOST_SHARED:
            shared.update(places)
    best, twin = MIN_RESEMBLANCE, None
    for place, common in shared.items():
        text, other = sets[place]
        resemblance = common / (len(own) + len(other) - common)
        if resemblance >= best:
            best, twin = resemblance, text
    return twin


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _shingles(plain: str) -> Iterator[str]:
    words = plain.split()
    if len(words) <= _WORDS:
        yield plain
        return
    for start in range(len(words) - _WORDS + 1):
        yield " ".join(words[start : start + _WORDS])
