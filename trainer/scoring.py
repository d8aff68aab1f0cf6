"""Asking an exported model, through the kernel's own driver: what is judged is what serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel import artefact
from kernel.artefact import Precision
from kernel.drivers.base import DriverError
from kernel.drivers.classifier import Classifier
from schemas.tasks import Task
from trainer import entity_metrics, metrics
from trainer.dataset import Row
from trainer.errors import TrainerError
from trainer.graph import Graph
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
        probabilities[batch] = driver.probabilities([encodings[row] for row in batch])
    return probabilities


def scores(
    folder: Path, rows: Sequence[Row], precision: Precision | Literal["auto"] = "auto"
) -> NDArray[np.float32]:
    """Probabilities of the model in `folder`, shape [decisions, labels].

    A row is one decision; where the task gives tags, each of its words is one. Of an embedder
    the vectors of the rows' texts, [rows, hidden].
    """
    kind = artefact.read(folder).kind
    if kind == "token-classifier":
        return Graph(folder, precision).tags(rows)
    if kind == "embedder":
        return Graph(folder, precision).vectors([row.text for row in rows])
    return ask(load(folder, precision), rows)


def truth(rows: Sequence[Row], labels: Sequence[str]) -> NDArray[np.int64]:
    """Index of each decision, shape [decisions]: a row's label, or each of its words' tags."""
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[said] for row in rows for said in row.said], np.int64)


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
    if task.answer == "vector" and rows:
        graph = Graph(folder, precision)
        near = graph.vectors([row.target or "" for row in rows])
        found: Report = entity_metrics.of_vectors(graph.vectors([row.text for row in rows]), near)
        return msgspec.structs.replace(found, precision=graph.precision, version=graph.version)
    driver = Graph(folder, precision) if task.answer == "tags" else load(folder, precision)
    unknown = {said for row in rows for said in row.said} - set(driver.labels)
    if unknown or not rows:
        raise TrainerError(
            f"rows to evaluate on need labels of {task.name}: {', '.join(driver.labels)}; "
            + (f"these are not: {', '.join(sorted(unknown))}" if unknown else "there is no row")
        )
    if isinstance(driver, Graph):
        tags = [row.tags for row in rows]
        found = entity_metrics.of_tags(driver.tags(rows), tags, driver.labels)
    else:
        right = truth(rows, driver.labels)
        said = ask(driver, rows)
        found = metrics.evaluate(said, right, tuple(driver.labels))
        found = msgspec.structs.replace(
            found, scope=metrics.scope(said, right, driver.labels, task.out_of_scope)
        )
    return msgspec.structs.replace(found, precision=driver.precision, version=driver.version)
