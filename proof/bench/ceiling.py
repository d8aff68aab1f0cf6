"""The offline ceiling: what the model alone does with the same texts, without Kafka.

Batches of 32, sorted by length over all texts or within windows of arrival, so that
padding is least; tokenizing is not counted. One pass uses every core; with
`side_by_side`, as many passes of one thread each run at a time, as the kernel does it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kernel.artefact import Precision
from kernel.drivers.classifier import Classifier
from proof.bench import facts
from proof.bench.rounds import median

BATCH: Final = 32
WINDOW: Final = 256


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
    *,
    window: int | None = None,
    side_by_side: bool = False,
) -> Ceiling:
    """Score all `pairs` of text and target once with the driver that the kernel serves."""
    workers = facts.cores() if side_by_side else 1
    driver = Classifier.load(model, precision, threads=1 if side_by_side else None)
    driver.warm_up()
    encodings = driver.tokenize([text for text, _ in pairs], [target for _, target in pairs])
    size = window or len(encodings)
    ordered = [
        encoding
        for start in range(0, len(encodings), size)
        for encoding in sorted(encodings[start : start + size], key=_length)
    ]
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        list(pool.map(driver.forward, batches))
        seconds = time.perf_counter() - began
    return Ceiling(
        texts=len(encodings),
        mean_tokens=round(sum(map(_length, encodings)) / len(encodings), 1),
        precision=driver.precision,
        per_s=round(len(encodings) / seconds, 1),
    )


def main(
    model: Path, pairs: Sequence[tuple[str, str | None]], *, rounds: int = 2
) -> dict[str, Any]:
    """Every ceiling of both precisions, in turn; the figures of `headrace bench ceiling`."""
    wanted: list[Precision] = ["fp32", "int8"]
    ways: dict[str, dict[str, Any]] = {
        "sorted": {},
        f"sorted in windows of {WINDOW}": {"window": WINDOW},
        "sorted, side by side": {"side_by_side": True},
    }
    found: dict[tuple[str, str], list[Ceiling]] = {}
    for _ in range(rounds):
        for precision in wanted:
            for name, options in ways.items():
                one = measure(model, pairs, precision, **options)
                found.setdefault((precision, name), []).append(one)
    return {
        "machine": facts.machine(),
        "texts": len(pairs),
        "ceilings": [
            {
                "precision": precision,
                "order": name,
                "per_s": median([one.per_s for one in runs]),
                "runs": [asdict(one) for one in runs],
            }
            for (precision, name), runs in found.items()
        ],
    }


def _length(encoding: Any) -> int:
    return int(encoding.tokens)
