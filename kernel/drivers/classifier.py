"""Text and pair classifiers: a text, or a target and a text, to label probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import numpy as np
from numpy.typing import NDArray

from kernel.drivers.base import Outcome, Output
from kernel.drivers.encoding import Encoding, Window
from kernel.drivers.graph import GraphDriver, need


class Classifier(GraphDriver):
    """Logits to probabilities; a long text has the mean of its windows' logits."""

    kinds = frozenset({"text-classifier", "pair-classifier"})
    poolings = ("mean", "max", "first")

    def _outputs(
        self, output: NDArray[np.float32], mask: NDArray[np.int64], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        need(output, len(mask), len(self.labels))
        return list(output[: len(windows)])

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The label, and every label's probability."""
        # A few numbers: numpy would take ten times as long as plain arithmetic.
        logits: list[float] = self._pooled(encoding, output).tolist()
        top = max(logits)
        exponents = [exp(logit - top) for logit in logits]
        total = sum(exponents)
        scores = {
            label: round(exponent / total, 6)
            for label, exponent in zip(self.labels, exponents, strict=True)
        }
        return Outcome(label=self.labels[exponents.index(max(exponents))], scores=scores)

    def probabilities(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        """Shape [len(encodings), labels], for use without an engine; rows sum to 1."""
        said = zip(encodings, self.forward(encodings), strict=True)
        return softmax(np.stack([self._pooled(*one) for one in said]))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities
