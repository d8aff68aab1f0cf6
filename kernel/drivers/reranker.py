"""Rerankers: how well a text answers a query, which is the request's target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kernel.drivers.base import Outcome, Output
from kernel.drivers.encoding import Encoding, Window
from kernel.drivers.graph import GraphDriver, need
from schemas.errors import ErrorClass, Unanswerable


class Reranker(GraphDriver):
    """Log-odds of relevance; the best window speaks for a long text."""

    kinds = frozenset({"reranker"})
    poolings = ("max", "mean", "first")

    def tokenize(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of query and text; without a query there is nothing to answer."""
        missing = Unanswerable(
            ErrorClass.WRONG_TYPE, "a reranker scores a text for a query: set `target` to it"
        )
        return [
            encoding
            if target is not None and target.strip()
            else replace(encoding, refusal=missing)
            for encoding, target in zip(super().tokenize(texts, targets), targets, strict=True)
        ]

    def _outputs(
        self, output: NDArray[np.float32], mask: NDArray[np.int64], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        need(output, len(mask), 1)
        return list(output[: len(windows)])

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The score."""
        return Outcome(score=round(float(self._pooled(encoding, output)[0]), 6))
