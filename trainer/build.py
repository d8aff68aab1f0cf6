"""From rows to a sealed artefact: fit, export, quantise, compare, judge, describe, seal."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from safetensors import SafetensorError

from kernel import artefact
from kernel.artefact import Manifest, Precision
from schemas.tasks import Task
from trainer import card, encoding, export, metrics, quantise, scoring
from trainer.dataset import Dataset, Row
from trainer.encoding import Collator, Feature
from trainer.errors import RefusedError, TrainerError
from trainer.fit import Fitted, fit
from trainer.metrics import Report
from trainer.progress import Progress
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

MIN_PARITY: Final = 0.999
"""Share of rows on which the fp32 graph must name torch's label; below, it is refused."""
CALIBRATION_ROWS: Final = 256
LOUD_DIMENSIONS: Final = 4
"""Dimensions kept in fp32 beside int8 (docs/models.md has the table this was chosen from)."""
CHECKPOINT: Final = "checkpoint"
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Built:
    """A sealed artefact in `folder`, and what is known of it."""

    folder: Path
    digest: str
    manifest: Manifest
    report: Report
    """On the held-back rows, through the graph that would be served on a CPU."""


@dataclass(frozen=True, slots=True)
class _Plan:
    task: Task
    recipe: Recipe
    version: str
    origin: str


def build(
    dataset: Dataset,
    task: Task,
    recipe: Recipe,
    *,
    version: str,
    folder: Path,
    progress: Progress,
    origin: str,
    minutes: float | None = None,
) -> Built:
    """Make the artefact of `version` in `folder/artefact`; `origin` says where the rows are from.

    What an earlier, killed call left in `folder` is used: its checkpoints are resumed.

    Raises:
        TrainerError: with what to do about it.
    """
    plan = _Plan(task, recipe, version, origin)
    progress.say("loading")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fitted = fit(
            dataset.train,
            task,
            recipe,
            folder=folder / "checkpoints",
            progress=progress,
            minutes=minutes,
        )
        progress.say("exporting", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
        target = folder / "artefact"
        exported = _export(plan, dataset, fitted, target)
        progress.say("judging", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
        built = _judge(plan, dataset, fitted, target, exported)
    except (OSError, SafetensorError) as error:
        raise TrainerError(
            f"the run in {folder} cannot be written: {error}; free disk space or mend the folder's "
            "permissions, then train again: it goes on from its last checkpoint"
        ) from error
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return built


def _export(
    plan: _Plan, dataset: Dataset, fitted: Fitted, target: Path
) -> tuple[Manifest, NDArray[np.float32]]:
    """Write checkpoint, tokenizer and graphs; the draft manifest and torch's own answers."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    fitted.model.save(target / CHECKPOINT)
    fitted.tokenizer.save(str(target / artefact.TOKENIZER))
    shutil.copy(target / artefact.TOKENIZER, target / CHECKPOINT)
    features = encoding.encode(_all_rows(dataset), fitted.tokenizer, plan.task, plan.recipe)
    graph = target / artefact.graph_name("fp32")
    export.export_fp32(fitted.model, graph)
    precisions: dict[Precision, str] = {"fp32": graph.name}
    if "int8" in plan.recipe.precisions:
        precisions["int8"] = artefact.graph_name("int8")
        calibration = _calibration(features[-CALIBRATION_ROWS:], fitted.collate)
        quantise.int8(graph, target / precisions["int8"], calibration, loud=LOUD_DIMENSIONS)
    draft = Manifest(
        task=plan.task.name,
        version=plan.version,
        kind=encoding.kind(plan.task),
        labels=list(plan.task.labels),
        max_tokens=plan.recipe.max_tokens,
        marking=plan.recipe.marking,
        precisions=precisions,
        agreement={},
        metrics={},
        files={},
    )
    return draft, encoding.predict(fitted.model, features, fitted.collate)


def _judge(
    plan: _Plan,
    dataset: Dataset,
    fitted: Fitted,
    target: Path,
    exported: tuple[Manifest, NDArray[np.float32]],
) -> Built:
    """Compare the precisions, measure what would be served, write the card, seal."""
    draft, by_torch = exported
    rows = _all_rows(dataset)
    _draft(target, draft)  # the driver, which does the comparing, reads it
    said = {precision: scoring.scores(target, rows, precision) for precision in draft.precisions}
    compared = replace(draft, agreement=check_agreement(said, by_torch))
    _draft(target, compared)
    report = scoring.report(target, dataset.held_back, plan.task)
    manifest = replace(
        compared,
        metrics={
            "accuracy": report.accuracy,
            "macro_f1": report.macro_f1,
            "ece": report.ece,
            "held_back": float(report.n),
            "trained_on": float(len(dataset.train)),
        },
    )
    text = card.render(
        manifest,
        report,
        recipe=plan.recipe,
        dataset=dataset,
        fitted=fitted,
        compared=len(rows),
        origin=plan.origin,
    )
    (target / "card.md").write_text(text, encoding="utf-8")
    return Built(target, artefact.seal(target, manifest), artefact.read(target), report)


def _draft(target: Path, manifest: Manifest) -> None:
    (target / artefact.MANIFEST).write_bytes(msgspec.json.encode(manifest))


def _all_rows(dataset: Dataset) -> list[Row]:
    """Held-back rows first."""
    return [*dataset.held_back, *dataset.train]


def check_agreement(
    said: dict[Precision, NDArray[np.float32]], by_torch: NDArray[np.float32]
) -> dict[Precision, float]:
    """Agreement of fp32 with torch, and of each other precision with fp32.

    Raises:
        RefusedError: the fp32 graph does not say what torch says.
    """
    parity = metrics.agreement(said["fp32"], by_torch)
    if parity < MIN_PARITY:
        raise RefusedError(
            f"the exported graph gives torch's label on {parity:.2%} of {len(by_torch)} rows, less "
            f"than {MIN_PARITY:.1%}: it is refused; try another backbone"
        )
    found: dict[Precision, float] = {"fp32": parity}
    for precision, scores in said.items():
        if precision != "fp32":
            found[precision] = metrics.agreement(scores, said["fp32"])
    return found


def _calibration(features: Sequence[Feature], collate: Collator) -> Iterator[quantise.Batch]:
    lengths = [len(feature["input_ids"]) for feature in features]
    for rows in encoding.batches(lengths, _BATCH):
        batch: dict[str, Any] = collate([features[row] for row in rows])
        yield {name: batch[name].numpy() for name in collate.inputs}
