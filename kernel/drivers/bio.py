"""Tags of words to entities: IOB2, read as conlleval reads it.

`B-X` begins an entity of type X, `I-X` goes on with it, `O` is outside. An `I-X` that follows
no X begins one too: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scheme:
    """The tags of a model, as numbers: of what type each is, and whether it begins one."""

    types: tuple[str, ...]
    """Names of the types; type 0 is outside."""
    type_of: NDArray[np.int64]
    """Shape [tags]."""
    begins: NDArray[np.bool_]
    """Shape [tags]."""

    @classmethod
    def of(cls, tags: Sequence[str]) -> Scheme:
        """The scheme of a model's labels.

        Raises:
            ValueError: they are not "O" followed by `B-…` and `I-…`.
        """
        if not tags or tags[0] != "O" or not all(tag[:2] in {"B-", "I-"} for tag in tags[1:]):
            raise ValueError('the labels of a token classifier are "O" first, then B-… and I-…')
        types = ("O", *dict.fromkeys(tag[2:] for tag in tags[1:]))
        return cls(
            types,
            np.array([0, *(types.index(tag[2:]) for tag in tags[1:])]),
            np.array([tag.startswith("B-") for tag in tags]),
        )


def spans(scheme: Scheme, tags: NDArray[np.int64]) -> list[tuple[int, int, str]]:
    """First word, the one behind the last, and type of each entity; `tags` is [words]."""
    kinds = scheme.type_of[tags]
    before = np.concatenate([[0], kinds[:-1]])[: len(kinds)]
    starts = (kinds != 0) & (scheme.begins[tags] | (kinds != before))
    edges = np.flatnonzero(starts | ((kinds == 0) & (before != 0)))
    ends = [*edges[1:], len(tags)][: len(edges)]
    return [
        (int(begin), int(end), scheme.types[kinds[begin]])
        for begin, end in zip(edges, ends, strict=True)
        if kinds[begin]
    ]
