"""Embedders: a text to a vector of length 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.drivers.base import DriverError, Outcome, Output
from kernel.drivers.encoding import Encoding, Window
from kernel.drivers.graph import GraphDriver, need


class Embedder(GraphDriver):
    """The mean of a window's hidden states, special tokens included; then of the windows.

    A graph that pools by itself gives [batch, dimensions].
    """

    kinds = frozenset({"embedder"})
    poolings = ("mean", "first")

    def _outputs(
        self, output: NDArray[np.float32], mask: NDArray[np.int64], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        if output.ndim > mask.ndim:
            need(output, *mask.shape, output.shape[-1])
            weights = mask.astype(np.float32)
            weights /= weights.sum(axis=1, keepdims=True)
            output = np.einsum("btd,bt->bd", output, weights)
        need(output, len(mask), output.shape[-1])
        return list(output[: len(windows)])

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The vector."""
        pooled = self._pooled(encoding, output)
        length = float(np.linalg.norm(pooled))
        if length == 0:
            raise DriverError("the model gave a vector of length 0")
        return Outcome(embedding=pooled / np.float32(length))
