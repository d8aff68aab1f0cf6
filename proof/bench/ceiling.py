"""The offline ceiling: what the model alone does with the same texts, without Kafka.

Batches of 32, sorted by length, so that padding is least; tokenizing is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kernel.artefact import Precision
from kernel.drivers.classifier import Classifier

BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Texts per second of one pass over all texts."""

    texts: int
    mean_tokens: float
    precision: str
    per_s: float


def measure(
    model: Path,
    pairs: Sequence[tuple[str, str | None]],
    precision: Precision | Literal["auto"] = "auto",
) -> Ceiling:
    """Score all `pairs` of text and target once with the driver that the kernel serves."""
    driver = Classifier.load(model, precision)
    driver.warm_up()
    encodings = driver.tokenize([text for text, _ in pairs], [target for _, target in pairs])
    encodings.sort(key=_length)
    began = time.perf_counter()
    for start in range(0, len(encodings), BATCH):
        driver.forward(encodings[start : start + BATCH])
    seconds = time.perf_counter() - began
    return Ceiling(
        texts=len(encodings),
        mean_tokens=round(sum(map(_length, encodings)) / len(encodings), 1),
        precision=driver.precision,
        per_s=round(len(encodings) / seconds, 1),
    )


def _length(encoding: Any) -> int:
    return int(encoding.tokens)
