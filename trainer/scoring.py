"""Asking an exported model, through the kernel's own driver: what is judged is what serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.artefact import Precision
from kernel.drivers.base import DriverError
from kernel.drivers.classifier import Classifier
from schemas.tasks import Task
from trainer import metrics
from trainer.dataset import Row
from trainer.errors import TrainerError
from trainer.metrics import Report

_BATCH: Final = 32


def load(folder: Path, precision: Precision | Literal["auto"]) -> Classifier:
    """The driver of an artefact folder.

    Raises:
        TrainerError: the model cannot be loaded in that precision.
    """
    try:
        return Classifier.load(folder, precision)
    except DriverError as error:
        raise TrainerError(f"the model in {folder} cannot be asked: {error}") from error


def ask(driver: Classifier, rows: Sequence[Row]) -> NDArray[np.float32]:
    """Probabilities, shape [rows, labels], in the driver's label order."""
    encodings = driver.tokenize([row.text for row in rows], [row.target for row in rows])
    probabilities = np.zeros((len(rows), len(driver.labels)), np.float32)
    order = sorted(range(len(rows)), key=lambda row: encodings[row].tokens)
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        probabilities[batch] = driver.forward([encodings[row] for row in batch])
    return probabilities


def scores(
    folder: Path, rows: Sequence[Row], precision: Precision | Literal["auto"] = "auto"
) -> NDArray[np.float32]:
    """Probabilities of the model in `folder`, shape [rows, labels]."""
    return ask(load(folder, precision), rows)


def truth(rows: Sequence[Row], labels: Sequence[str]) -> NDArray[np.int64]:
    """Index of each row's label, shape [rows]."""
    return np.array([labels.index(row.label) for row in rows], np.int64)


def report(
    folder: Path,
    rows: Sequence[Row],
    task: Task,
    precision: Precision | Literal["auto"] = "auto",
) -> Report:
    """What the model in `folder` does on `rows`, with the precision that would be served.

    Raises:
        TrainerError: no rows, or labels that the model does not know.
    """
    driver = load(folder, precision)
    unknown = {row.label for row in rows} - set(driver.labels)
    if unknown or not rows:
        raise TrainerError(
            f"rows to evaluate on need labels of {task.name}: {', '.join(driver.labels)}; "
            + (f"these are not: {', '.join(sorted(unknown))}" if unknown else "there is no row")
        )
    found = metrics.evaluate(ask(driver, rows), truth(rows, driver.labels), tuple(driver.labels))
    return msgspec.structs.replace(found, precision=driver.precision, version=driver.version)
