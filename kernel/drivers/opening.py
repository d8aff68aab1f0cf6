"""Which driver runs which kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from kernel import artefact
from kernel.artefact import Kind, Precision
from kernel.drivers.classifier import Classifier
from kernel.drivers.embedder import Embedder
from kernel.drivers.graph import GraphDriver
from kernel.drivers.reranker import Reranker
from kernel.drivers.tokens import TokenClassifier

_DRIVERS: Final[tuple[type[GraphDriver], ...]] = (Classifier, TokenClassifier, Embedder, Reranker)
DRIVERS: Final[dict[Kind, type[GraphDriver]]] = {
    kind: driver for driver in _DRIVERS for kind in sorted(driver.kinds)
}


def load(
    folder: Path,
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    *,
    device: str = "auto",
    gpu_mb: float = 0.0,
) -> GraphDriver:
    """Load an artefact folder with the driver of its kind; as `GraphDriver.load`.

    Raises:
        ArtefactError: without a readable manifest.
        DriverError: the files, the device or the memory do not do.
    """
    kind = artefact.read(folder).kind
    return DRIVERS[kind].load(folder, precision, threads, device=device, gpu_mb=gpu_mb)
