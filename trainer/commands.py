"""What the command line can ask of the trainer, without a broker: train and evaluate on files."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from kernel import artefact
from kernel.artefact import ArtefactError, Precision
from schemas.tasks import Task
from trainer import dataset, runs, scoring, tasks
from trainer.dataset import Dataset
from trainer.errors import TrainerError
from trainer.metrics import Report
from trainer.progress import Progress, replace_file
from trainer.recipe import Recipe
from trainer.recipe import load as load_recipe

PLAN: Final = "plan.sha256"


def train(
    task: str,
    data: Path,
    *,
    out: Path,
    evaluation: Path | None = None,
    recipe: str = "starter",
    minutes: float | None = None,
) -> Report:
    """Train on the CSV `data` and leave a sealed artefact in `out`; how it does on `evaluation`.

    Without `evaluation` a part of `data` is held back. A run that was killed goes on when the
    same command is given again. Progress is written to `OUT.run/current.json` meanwhile.

    Raises:
        TrainerError: with what to do about it.
    """
    from trainer.build import build  # noqa: PLC0415  (torch takes seconds; errors come first)

    asked, chosen = tasks.find(task), load_recipe(recipe)
    rows = _dataset(asked, chosen, data, evaluation)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainerError(f"{out} is not empty: name a new folder, or remove it")
    work = out.absolute().with_name(f"{out.name}.run")
    _continue_or_begin(work, asked, chosen, rows)
    version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    built = build(
        rows,
        asked,
        chosen,
        version=version,
        folder=work,
        progress=Progress(work / runs.CURRENT, version, asked.name),
        origin=data.name,
        minutes=minutes,
    )
    shutil.rmtree(out, ignore_errors=True)
    built.folder.rename(out)
    shutil.rmtree(work)
    return built.report


def evaluate(model: Path, data: Path, precision: Precision | Literal["auto"] = "auto") -> Report:
    """How the artefact in `model` does on the CSV `data`, through the graph that would serve.

    Rows without a text are left out, as everywhere.

    Raises:
        TrainerError: the model or the data cannot be used.
    """
    try:
        manifest = artefact.read(model)
    except ArtefactError as error:
        raise TrainerError(str(error)) from error
    task = Task(
        name=manifest.task,
        labels=tuple(manifest.labels),
        inputs="pair" if manifest.kind == "pair-classifier" else "text",
        about="",
    )
    rows = [row for row in dataset.read_csv(data, task) if row.text]
    return scoring.report(model, rows, task, precision)


def _dataset(task: Task, chosen: Recipe, data: Path, evaluation: Path | None) -> Dataset:
    rows = dataset.read_csv(data, task)
    if evaluation is None:
        return dataset.build(rows, task, chosen.held_back)
    return dataset.judged_by(rows, dataset.read_csv(evaluation, task), task)


def _continue_or_begin(work: Path, task: Task, chosen: Recipe, rows: Dataset) -> None:
    """Keep checkpoints in `work` if they were made by the same plan from the same rows."""
    plan = hashlib.sha256(msgspec.json.encode((task, chosen, rows))).hexdigest().encode()
    try:
        if (work / PLAN).read_bytes() == plan:
            return
    except OSError:
        pass
    try:
        shutil.rmtree(work, ignore_errors=True)
        replace_file(work / PLAN, plan)
    except OSError as error:
        raise TrainerError(f"{work} cannot be written: {error}; name another folder") from error
