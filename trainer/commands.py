"""What the command line can ask of the trainer, without a broker: train and evaluate on files."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from kernel import artefact
from kernel.artefact import ArtefactError, Kind, Precision
from schemas.tasks import Answer, Inputs, Task
from trainer import dataset, distributed, files, runs, scoring, tasks, tracking
from trainer.dataset import Dataset
from trainer.errors import TrainerError
from trainer.metrics import Report
from trainer.progress import Progress, replace_file
from trainer.recipe import Recipe
from trainer.recipe_files import load as load_recipe

PLAN: Final = "plan.sha256"
_INPUTS: Final[dict[Kind, Inputs]] = {
    "text-classifier": "text",
    "pair-classifier": "pair",
    "token-classifier": "tokens",
    "embedder": "pair",
    "reranker": "pair",
}
_ANSWERS: Final[dict[Kind, Answer]] = {"token-classifier": "tags", "embedder": "vector"}


def train(
    task: str,
    data: Path,
    *,
    out: Path,
    evaluation: Path | None = None,
    recipe: str = "starter",
    minutes: float | None = None,
) -> Report | None:
    """Train on the CSV `data` and leave a sealed artefact in `out`; how it does on `evaluation`.

    Tasks with tags read CoNLL files; a task with parts reads a folder with a file for each part
    and leaves an artefact for each. Under torchrun all processes train, and the first gives the
    report. Without `evaluation` a part of `data` is held back. A run that was killed goes on when
    the same command is given again. Progress is written to `OUT.run/current.json` meanwhile.

    Raises:
        TrainerError: with what to do about it.
    """
    asked = tasks.find(task)
    chosen = load_recipe(recipe, asked)
    if asked.parts:
        return _train_parts(
            asked, Path(task), chosen, data, out=out, evaluation=evaluation, minutes=minutes
        )
    asked, rows = dataset_of(asked, chosen, data, evaluation)
    report = train_rows(asked, chosen, rows, out, origin=data.name, minutes=minutes)
    if report is not None:
        sources = [data] if evaluation is None else [data, evaluation]
        runs.remember_files(_beside(out), asked, chosen, report, sources=sources, minutes=minutes)
    return report


def _train_parts(
    asked: Task,
    file: Path,
    chosen: Recipe,
    data: Path,
    *,
    out: Path,
    evaluation: Path | None,
    minutes: float | None,
) -> Report | None:
    """Train a multi-task file's parts on the files PART.csv or PART.conll of the folder `data`."""
    from trainer.build import build_parts  # noqa: PLC0415  (torch takes seconds)

    parts = [
        dataset_of(part, chosen, _of_part(data, part), evaluation and _of_part(evaluation, part))
        for part in tasks.parts(asked, file)
    ]
    if distributed.processes() > 1:
        raise TrainerError("tasks on a shared backbone are trained by one process: leave torchrun")
    work = _work_folder(out, asked, chosen, parts)
    version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    built = build_parts(
        parts,
        chosen,
        version=version,
        folder=work,
        progress=Progress(work / runs.CURRENT, version, asked.name),
        origin=data.name,
        minutes=minutes,
    )
    shutil.rmtree(out, ignore_errors=True)
    (work / "artefact").rename(out)
    shutil.rmtree(work)
    return built[parts[0][0].name].report


def _beside(out: Path) -> Path:
    """The run's folder."""
    return out.absolute().with_name(f"{out.name}.run")


def _of_part(folder: Path, part: Task) -> Path:
    path = folder / f"{part.name}.{'conll' if part.answer == 'tags' else 'csv'}"
    if not path.is_file():
        raise TrainerError(f"{path} is missing: a task with parts reads a file for each of them")
    return path


def _work_folder(out: Path, asked: Task, chosen: Recipe, rows: object) -> Path:
    """Where the run lies until it is finished."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainerError(f"{out} is not empty: name a new folder, or remove it")
    work = _beside(out)
    _continue_or_begin(work, asked, chosen, rows)
    return work


def train_rows(
    asked: Task,
    chosen: Recipe,
    rows: Dataset,
    out: Path,
    *,
    origin: str,
    minutes: float | None = None,
) -> Report | None:
    """Train on clean rows; the artefact goes to `out`, event files stay in `OUT.run`."""
    from trainer.build import assist, build  # noqa: PLC0415  (torch takes seconds)

    if not distributed.is_first():
        work = _beside(out)
        assist(rows, asked, chosen, folder=work, minutes=minutes)
        return None
    work = _work_folder(out, asked, chosen, rows)
    version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    built = build(
        rows,
        asked,
        chosen,
        version=version,
        folder=work,
        progress=Progress(work / runs.CURRENT, version, asked.name),
        origin=origin,
        minutes=minutes,
    )
    shutil.rmtree(out, ignore_errors=True)
    built.folder.rename(out)
    for path in work.iterdir():  # what remains is what the run looked like
        if path.name != tracking.FOLDER:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
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
        inputs=_INPUTS[manifest.kind],
        answer=_ANSWERS.get(manifest.kind, "label"),
        out_of_scope=manifest.out_of_scope,
    )
    rows = [row for row in files.read(data, task) if row.text]
    return scoring.report(model, rows, task, precision)


def dataset_of(
    task: Task, chosen: Recipe, data: Path, evaluation: Path | None
) -> tuple[Task, Dataset]:
    """The task, with the labels that the rows name where it leaves them open, and the rows."""
    rows = files.read(data, task)
    task = tasks.with_labels(task, rows)
    if evaluation is None:
        return task, dataset.build(rows, task, chosen.held_back)
    return task, dataset.judged_by(rows, files.read(evaluation, task), task)


def _continue_or_begin(work: Path, task: Task, chosen: Recipe, rows: object) -> None:
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
