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
from trainer import (
    calibration,
    card,
    casing,
    distributed,
    encoding,
    evidence,
    export,
    judgement,
    metrics,
    multi,
    out_of_scope,
    quantise,
    scoring,
    tracking,
)
from trainer.backbone import CHECKPOINT
from trainer.calibration import Calibration
from trainer.dataset import Dataset, Row
from trainer.encoding import Collator, Feature
from trainer.entity_metrics import EntityReport, RetrievalReport
from trainer.errors import RefusedError, TrainerError
from trainer.fit import Fitted, fit, fit_parts
from trainer.metrics import Report
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.tasks import with_labels

log = logging.getLogger(__name__)

MIN_PARITY: Final = 0.999
"""Share of rows on which the fp32 graph must name torch's label; below, it is refused."""
COMPARED_ROWS: Final = 1_000
"""Rows on which the precisions are compared, where there are so many: each is read three times
while people wait for the version."""
CALIBRATION_ROWS: Final = 256
LOUD_DIMENSIONS: Final = 4
"""Dimensions kept in fp32 beside int8 (docs/models.md has the table this was chosen from)."""
_BATCH: Final = 32
_NOTHING: Final = (np.zeros((0, 0), np.float32), np.zeros(0, np.int64))


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
    learned_until: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Exported:
    """What `_export` leaves for the judgement."""

    draft: Manifest
    by_torch: NDArray[np.float32]
    """Torch's own answers to all rows, tempered."""
    calibration: Calibration


def build(
    dataset: Dataset,
    task: Task,
    recipe: Recipe,
    *,
    version: str,
    folder: Path,
    progress: Progress,
    origin: str,
    learned_until: dict[str, int] | None = None,
    minutes: float | None = None,
) -> Built:
    """Make the artefact of `version` in `folder/artefact`; `origin` says where the rows are from.

    `learned_until` are the offsets of `labels.examples` before which labels were known.
    What an earlier, killed call left in `folder` is used: its checkpoints are resumed.

    Raises:
        TrainerError: with what to do about it.
    """
    plan = _Plan(with_labels(task, dataset.train), recipe, version, origin, learned_until or {})
    task = plan.task
    progress.say("loading")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        distributed.meet()
        fitted = fit(
            dataset.train,
            task,
            recipe,
            folder=folder / "checkpoints",
            progress=progress,
            minutes=minutes,
            callbacks=tracking.callbacks(folder),
        )
        progress.say("exporting", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
        target = folder / "artefact"
        exported = _export(plan, dataset, fitted, target)
        progress.say("judging", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
        built = _judge(plan, dataset, fitted, target, exported)
        tracking.figures(folder, fitted.steps, built.manifest.metrics)
    except (OSError, SafetensorError) as error:
        raise TrainerError(
            f"the run in {folder} cannot be written: {error}; free disk space or mend the folder's "
            "permissions, then train again: it goes on from its last checkpoint"
        ) from error
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return built


def build_parts(
    parts: multi.Parts,
    recipe: Recipe,
    *,
    version: str,
    folder: Path,
    progress: Progress,
    origin: str,
    minutes: float | None = None,
) -> dict[str, Built]:
    """One training of all `parts` on a shared backbone; an artefact of each, by task.

    They lie in `folder/artefact/TASK`. Killed, it goes on as `build` does.

    Raises:
        TrainerError: with what to do about it.
    """
    parts = [(with_labels(task, data.train), data) for task, data in parts]
    progress.say("loading")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        distributed.meet()
        all_fitted = fit_parts(
            parts, recipe, folder=folder / "checkpoints", progress=progress, minutes=minutes
        )
        (folder / "artefact").mkdir(exist_ok=True)
        built = {}
        for (task, data), fitted in zip(parts, all_fitted, strict=True):
            plan = _Plan(task, recipe, version, origin, {})
            target = folder / "artefact" / task.name
            progress.say("exporting", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
            exported = _export(plan, data, fitted, target)
            progress.say("judging", step=fitted.steps, of=fitted.steps, loss=fitted.loss)
            built[task.name] = _judge(plan, data, fitted, target, exported)
    except (OSError, SafetensorError) as error:
        raise TrainerError(
            f"the run in {folder} cannot be written: {error}; free disk space or mend the folder's "
            "permissions, then train again: it goes on from its last checkpoint"
        ) from error
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return built


def assist(
    dataset: Dataset, task: Task, recipe: Recipe, *, folder: Path, minutes: float | None
) -> None:
    """Train along with the first of several processes, which does all the rest (torchrun)."""
    distributed.meet()  # the first has made the folder
    fit(
        dataset.train,
        with_labels(task, dataset.train),
        recipe,
        folder=folder / "checkpoints",
        progress=Progress(folder / "unused.json", "", task.name),
        minutes=minutes,
    )


def _export(plan: _Plan, dataset: Dataset, fitted: Fitted, target: Path) -> _Exported:
    """Write checkpoint, tokenizer and graphs."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    casing.fold(fitted.model)
    features = encoding.encode(_compared(dataset), fitted.tokenizer, plan.task, plan.recipe)
    tempered = _calibrate(plan.task, dataset.held_back, fitted, features)
    fitted.model.save(target / CHECKPOINT)
    fitted.tokenizer.save(str(target / artefact.TOKENIZER))
    shutil.copy(target / artefact.TOKENIZER, target / CHECKPOINT)
    draft = _graphs(plan, fitted, features, target)
    return _Exported(draft, encoding.predict(fitted.model, features, fitted.collate), tempered)


def _graphs(plan: _Plan, fitted: Fitted, features: Sequence[Feature], target: Path) -> Manifest:
    """Write the graph of each precision; the draft manifest."""
    graph = target / artefact.graph_name("fp32")
    export.export_fp32(fitted.model, graph)
    precisions: dict[Precision, str] = {"fp32": graph.name}
    if "int8" in plan.recipe.precisions:
        precisions["int8"] = artefact.graph_name("int8")
        calibration = _calibration(features[-CALIBRATION_ROWS:], fitted.collate)
        quantise.int8(graph, target / precisions["int8"], calibration, loud=LOUD_DIMENSIONS)
    if "fp16" in plan.recipe.precisions:
        precisions["fp16"] = artefact.graph_name("fp16")
        export.fp16(graph, target / precisions["fp16"])
    return Manifest(
        task=plan.task.name,
        version=plan.version,
        kind=encoding.kind(plan.task),
        labels=list(plan.task.labels),
        max_tokens=plan.recipe.max_tokens,
        out_of_scope=plan.task.out_of_scope if plan.task.out_of_scope in plan.task.labels else "",
        marking=plan.recipe.marking,
        precisions=precisions,
        agreement={},
        metrics={},
        learned_until=plan.learned_until,
        held_back=plan.recipe.held_back if plan.learned_until else None,
        files={},
    )


def serving_ms(
    fitted: Fitted, task: Task, recipe: Recipe, rows: Sequence[Row], folder: Path
) -> float:
    """Milliseconds for one of `rows` at the 99th percentile, through the graphs put in `folder`.

    The fastest precision is taken: whether it agrees with fp32 is for the judgement.
    """
    folder.mkdir(parents=True)
    casing.fold(fitted.model)
    features = encoding.encode(rows, fitted.tokenizer, task, recipe)
    fitted.tokenizer.save(str(folder / artefact.TOKENIZER))
    draft = _graphs(_Plan(task, recipe, "", "", {}), fitted, features, folder)
    agrees = dict.fromkeys(draft.precisions, 1.0)
    _draft(folder, replace(draft, agreement=agrees))
    times = evidence.singles_ms(evidence.Asked(folder, task), rows)
    return float(np.percentile(times, 99))


def _calibrate(
    task: Task, rows: list[Row], fitted: Fitted, features: Sequence[Feature]
) -> Calibration:
    """Fold a temperature into the head, and how readily it says that no label fits.

    `features` begin with those of the held-back `rows`.
    """
    if task.answer != "label":
        return Calibration()
    said = encoding.predict(fitted.model, features[: len(rows)], fitted.collate)
    truth = scoring.truth(rows, task.labels)
    found = calibration.calibrate(rows, said, truth)
    calibration.fold(fitted.model.head, found.temperature)
    if task.out_of_scope in task.labels:
        label = task.labels.index(task.out_of_scope)
        half = np.array([calibration.is_fitted_on(row) for row in rows], np.bool_)
        tempered = calibration.tempered(said[half], found.temperature)
        raised = out_of_scope.shift(tempered, truth[half], label)
        out_of_scope.fold(fitted.model.head, label, raised)
        found = replace(found, raised=raised)
    return found


def _judge(
    plan: _Plan,
    dataset: Dataset,
    fitted: Fitted,
    target: Path,
    exported: _Exported,
) -> Built:
    """Compare the precisions, measure what would be served, write the card, seal."""
    draft, by_torch = exported.draft, exported.by_torch
    rows = _compared(dataset)
    _draft(target, draft)  # the driver, which does the comparing, reads it
    said = {precision: scoring.scores(target, rows, precision) for precision in draft.precisions}
    compared = replace(draft, agreement=check_agreement(said, by_torch, plan.task))
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
            **_figures(report),
            **_scope(report),
            **_calibrated(exported.calibration),
            **fitted.figures,
        },
    )
    judged = None
    plotted = _NOTHING
    if plan.task.answer == "label":
        driver = scoring.load(target, "auto")
        judged = judgement.judge(driver, dataset, exported.calibration)
        truth = scoring.truth(dataset.held_back, plan.task.labels)
        plotted = said[driver.precision][: len(truth)], truth
    told = card.Told(
        manifest=manifest,
        report=report,
        recipe=plan.recipe,
        dataset=dataset,
        fitted=fitted,
        compared=len(rows),
        origin=plan.origin,
        judged=judged,
    )
    card.write(target, told, *plotted)
    return Built(target, artefact.seal(target, manifest), artefact.read(target), report)


def _draft(target: Path, manifest: Manifest) -> None:
    (target / artefact.MANIFEST).write_bytes(msgspec.json.encode(manifest))


def _compared(dataset: Dataset) -> list[Row]:
    """Held-back rows first, then as many others as it takes, for calibration at least."""
    others = max(CALIBRATION_ROWS, COMPARED_ROWS - len(dataset.held_back))
    return [*dataset.held_back, *dataset.train[-others:]]


def check_agreement(
    said: dict[Precision, NDArray[np.float32]],
    by_torch: NDArray[np.float32],
    task: Task | None = None,
) -> dict[Precision, float]:
    """Agreement of fp32 with torch, and of each other precision with fp32.

    Raises:
        RefusedError: the fp32 graph does not say what torch says.
    """
    agreement = metrics.agreement
    if task is not None and task.answer == "vector":
        agreement = _cosine
    parity = agreement(said["fp32"], by_torch)
    if parity < MIN_PARITY:
        raise RefusedError(
            f"the exported graph gives torch's label on {parity:.2%} of {len(by_torch)} rows, less "
            f"than {MIN_PARITY:.1%}: it is refused; try another backbone"
        )
    found: dict[Precision, float] = {"fp32": parity}
    for precision, scores in said.items():
        if precision != "fp32":
            found[precision] = agreement(scores, said["fp32"])
    return found


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Mean cosine of vectors of length 1, each [rows, hidden]."""
    return float((first * second).sum(axis=1).mean())


def _figures(report: Report) -> dict[str, float]:
    """What a report of tags or vectors knows beside accuracy."""
    if isinstance(report, EntityReport):
        return {"entity_f1": report.entity_f1, "token_micro_f1": report.token_micro_f1}
    if isinstance(report, RetrievalReport):
        return {f"recall_at_{depth}": share for depth, share in report.recall_at.items()}
    return {}


def _scope(report: Report) -> dict[str, float]:
    """What inputs in and out of scope come to, where the task knows both."""
    if report.scope is None:
        return {}
    return {
        "in_scope_accuracy": report.scope.in_scope_accuracy,
        "out_of_scope_recall": report.scope.out_of_scope_recall,
    }


def _calibrated(found: Calibration) -> dict[str, float]:
    """What a temperature did, where one was fitted."""
    if found.ece_before is None or found.ece_after is None:
        return {}
    return {
        "temperature": found.temperature,
        "ece_before": found.ece_before,
        "ece_after": found.ece_after,
    }


def _calibration(features: Sequence[Feature], collate: Collator) -> Iterator[quantise.Batch]:
    lengths = [len(feature["input_ids"]) for feature in features]
    for rows in encoding.batches(lengths, _BATCH):
        batch: dict[str, Any] = collate(
            [{k: v for k, v in features[row].items() if k != "near"} for row in rows]
        )
        yield {name: batch[name].numpy() for name in collate.inputs}
