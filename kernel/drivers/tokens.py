"""Token classifiers: the names in a text, with their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.artefact import Manifest
from kernel.drivers import bio
from kernel.drivers.base import DriverError, Outcome, Output
from kernel.drivers.classifier import softmax
from kernel.drivers.encoding import Encoding, Window
from kernel.drivers.graph import GraphDriver, need
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Entity
from schemas.limits import EXCERPT_CHARACTERS, MAX_ENTITIES


class TokenClassifier(GraphDriver):
    """Tags of tokens to entities; a word (`kernel.drivers.words`) has the tag of its first token.

    Where windows overlap, a token's tag
    comes from the window in which it stands furthest from a cut.
    """

    kinds = frozenset({"token-classifier"})
    poolings = ("central", "first")
    spans = True

    @classmethod
    def _check(cls, manifest: Manifest) -> None:
        super()._check(manifest)
        try:
            bio.Scheme.of(manifest.labels)
        except ValueError as error:
            raise DriverError(str(error)) from error

    def _outputs(
        self, output: NDArray[np.float32], mask: NDArray[np.int64], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        if output.shape != (*mask.shape, len(self.labels)):
            raise DriverError(f"the model gave the shape {output.shape}")
        # What the model says to padding means nothing, not even NaN.
        said = [
            output[row, window.start : window.start + window.content].copy()
            for row, window in enumerate(windows)
        ]
        for window, logits in zip(windows, said, strict=True):
            need(logits, window.content, len(self.labels))
        return said

    def tags(
        self, encoding: Encoding, output: Output
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The words' places and the probabilities of their tags.

        Shapes [words, 2] (first character, the one behind the last) and [words, labels].
        """
        spans = encoding.spans
        probabilities = softmax(self._pooled(encoding, output))
        if spans is None or not len(probabilities):
            return np.zeros((0, 2), np.int32), np.zeros((0, len(self.labels)), np.float32)
        spans = spans[: len(probabilities)]  # all, unless the text was cut
        starts = np.flatnonzero(np.diff(spans[:, 2], prepend=spans[0, 2] - 1))
        lasts = np.append(starts[1:], len(spans)) - 1
        return np.stack([spans[starts, 0], spans[lasts, 1]], axis=1), probabilities[starts]

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The entities."""
        words, probabilities = self.tags(encoding, output)
        tags = probabilities.argmax(axis=1)
        sure = probabilities.max(axis=1)
        found = bio.spans(bio.Scheme.of(self.labels), tags)
        if len(found) > MAX_ENTITIES:
            raise Unanswerable(
                ErrorClass.TEXT_TOO_LONG,
                f"the text holds {len(found)} entities; a result carries {MAX_ENTITIES}: split it",
            )
        return Outcome(
            entities=[
                _entity(
                    encoding.text,
                    (int(words[begin, 0]), int(words[end - 1, 1])),
                    label,
                    float(sure[begin:end].mean()),
                )
                for begin, end, label in found
            ]
        )


def _entity(text: str, place: tuple[int, int], label: str, score: float) -> Entity:
    # Some tokenizers count the blank before a word as its own.
    start, end = place
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return Entity(
        label=label,
        start=start,
        end=end,
        text=text[start:end][:EXCERPT_CHARACTERS],
        score=round(score, 6),
    )
