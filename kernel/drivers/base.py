"""What every driver can do: a few verbs, and the scheduler knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from kernel.artefact import Precision
from kernel.drivers.encoding import Encoding
from schemas.events import Entity

Output = Sequence[NDArray[np.float32]]
"""What a graph says to an input, window by window; shapes are the driver's own affair."""


class DriverError(Exception):
    """A driver could not be loaded, or a forward pass gave nothing usable."""


class ExhaustedError(DriverError):
    """There is not memory enough; a smaller batch, or a smaller model, may do."""


class DeviceLostError(DriverError):
    """The device answers no more: only a new process can go on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model says to one input; the fields of `schemas.events.KernelResult`."""

    label: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    entities: list[Entity] = field(default_factory=list)
    embedding: NDArray[np.float32] | None = None
    """Shape [dimensions], of length 1."""
    score: float | None = None

    @property
    def vector(self) -> list[float]:
        """The embedding as plain numbers of six decimals."""
        if self.embedding is None:
            return []
        numbers: list[float] = np.round(self.embedding.astype(np.float64), 6).tolist()
        return numbers

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        return (
            _OUTCOME_BYTES
            + _SCORE_BYTES * len(self.scores)
            + sum(_ENTITY_BYTES + 4 * len(entity.text) for entity in self.entities)
            + (0 if self.embedding is None else self.embedding.nbytes)
        )


_OUTCOME_BYTES: Final = 200
_SCORE_BYTES: Final = 40
_ENTITY_BYTES: Final = 250


class Driver(Protocol):
    """One loaded model version. All but `unload` may be called from several threads at a time."""

    version: str
    precision: Precision
    labels: Sequence[str]
    memory_bytes: int
    """Size of the files that it holds in memory."""

    def warm_up(self) -> None:
        """Run the shapes to come, so that the first request does not pay."""

    def tokenize(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of the texts; one that should be refused says so itself.

        Raises:
            DriverError: the tokenizer fails.
        """

    def forward(self, batch: Sequence[Encoding]) -> list[Output]:
        """What the model says to each input.

        Raises:
            ExhaustedError: there is not memory enough for so large a batch.
            DeviceLostError: the device answers no more.
            DriverError: the model raises, or gives NaN or another shape.
        """

    def interrupt(self, thread: int) -> None:
        """Let the pass that runs on that thread fail soon, if it can be reached at all."""

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The answer to an input, from what was said to all of its windows.

        Raises:
            DriverError: the outputs make no sense.
            Unanswerable: the answer is too large.
        """

    def unload(self) -> None:
        """Free the memory; the driver is of no use any more."""
