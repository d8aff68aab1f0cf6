"""What every driver can do: three verbs, and the scheduler knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernel.artefact import Precision


class DriverError(Exception):
    """A driver could not be loaded, or a forward pass gave nothing usable."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One tokenised input; int64 arrays of shape [tokens]."""

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Length of the sequence, special tokens included."""
        return len(self.ids)


class Driver(Protocol):
    """One loaded model version."""

    version: str
    precision: Precision
    labels: Sequence[str]

    def tokenize(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of the texts, cut to the model's length."""

    def forward(self, batch: Sequence[Encoding]) -> NDArray[np.float32]:
        """Probabilities, shape [len(batch), len(labels)]; rows sum to 1.

        Raises:
            DriverError: where the model raises or gives NaN or another shape.
        """

    def warm_up(self) -> None:
        """Run once at the shapes to come, so that the first request does not pay."""
