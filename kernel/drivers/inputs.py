"""What a model reads: the one place that turns text and target into model input.

Training and serving both go through here, so that a model is asked as it was taught.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kernel.artefact import Kind, Marking

PAIRS: Final[frozenset[Kind]] = frozenset({"pair-classifier", "reranker"})
"""Kinds that read a target: the others are not told of it."""


def model_inputs(
    kind: Kind, marking: Marking, texts: Sequence[str], targets: Sequence[str | None]
) -> list[str | tuple[str, str]]:
    """Inputs for a tokenizer's `encode_batch`: a text, or the pair (target, text).

    A pair model asked without a target reads the text alone.
    """
    if kind not in PAIRS:
        return list(texts)
    return [
        text if target is None else (target, mark(text, target) if marking == "mention" else text)
        for text, target in zip(texts, targets, strict=True)
    ]


def mark(text: str, target: str) -> str:
    """`text` with asterisks around each mention of `target` as a whole word.

    Mentions in the target's own case count; where there are none, those in any case. A
    pair alone leaves the model to find the target again; marked, a fine-tune on about
    1,400 rows gained five points of accuracy (docs/models.md).
    """
    if not target.strip():
        return text
    mention = rf"(?<!\w){re.escape(target)}(?!\w)"
    marked, found = re.subn(mention, _starred, text)
    return marked if found else re.sub(mention, _starred, text, flags=re.IGNORECASE)


def _starred(mention: re.Match[str]) -> str:
    return f"* {mention.group()} *"
