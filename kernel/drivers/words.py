"""The words of a text, for tags: what was tagged in training as one is tagged as one."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = re.compile(
    r"""
      (?<!\w)(?:[^\W\d_]\.)+       # initials and the like: J. U.S. p.m.
    | ['\u2019][sS]\b              # a genitive is a word of its own
    | \d+(?:[-.,:/]\d+)*(?!\w)     # 1,000.50 1996-08-31 1/2
    | \w+(?:(?!['\u2019][sS]\b)[-./&'\u2019]\w+)*  # Anglo-American, AT&T, O'Neill, don't
    | ([-.])\1+
    | \S
    """,
    re.VERBOSE,
)
"""Words as corpora of names count them (CoNLL-2003 and its like): a model that was taught one
tag for each of them was not taught what to say inside of one."""


def starts(text: str) -> NDArray[np.int32]:
    """Place of the first character of each word, rising; shape [words]."""
    return np.fromiter((found.start() for found in _WORD.finditer(text)), np.int32)
