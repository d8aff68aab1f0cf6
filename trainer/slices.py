"""Slices: named parts of labelled rows that a version is judged on one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Row

SHORT_WORDS: Final = 8
LONG_WORDS: Final = 20
MOST_SOURCES: Final = 8
"""Sources with most rows that are slices of their own."""


def of(rows: Sequence[Row], known_targets: Iterable[str]) -> dict[str, NDArray[np.bool_]]:
    """Which rows belong to each slice, by its name; masks of shape [rows].

    Slices are the right label, the length in words, the source, whether the target is one of
    `known_targets` (those learned from), and whether the text is about several targets.
    """
    known = {target.casefold() for target in known_targets}
    targets = Counter(row.text for row in rows if row.target is not None)
    sources = {name for name, _ in Counter(row.source for row in rows).most_common(MOST_SOURCES)}
    found: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        found[f"label {row.label}"].append(index)
        found[f"length {length(row.text)}"].append(index)
        if row.source and row.source in sources:
            found[f"source {row.source}"].append(index)
        if row.target is not None:
            seen = "known" if row.target.casefold() in known else "unknown"
            found[f"target {seen}"].append(index)
            found[f"targets {'several' if targets[row.text] > 1 else 'one'}"].append(index)
    return {name: _mask(indices, len(rows)) for name, indices in sorted(found.items())}


def length(text: str) -> str:
    """`short`, `medium` or `long`, by words."""
    words = len(text.split())
    if words <= SHORT_WORDS:
        return "short"
    return "medium" if words <= LONG_WORDS else "long"


def _mask(indices: list[int], rows: int) -> NDArray[np.bool_]:
    mask = np.zeros(rows, np.bool_)
    mask[indices] = True
    return mask
