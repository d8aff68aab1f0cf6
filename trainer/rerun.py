"""Reruns: any run can be made again from its record, and must come to the same figures.

The record (`run.json`) holds the task, the recipe with its seed, and the rows: ranges of offsets
of `labels.examples`, or files by their SHA-256. A run that was limited by time cannot be made
again: its learning rate followed the clock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from kernel.artefact import sha256
from streams.settings import Settings
from trainer import dataset, files, labels, runs
from trainer.commands import train_rows
from trainer.dataset import Dataset
from trainer.errors import TrainerError
from trainer.runs import COMPARED, Run

TOLERANCE: Final = 0.005
"""Figures may differ by this. On one machine they are equal; other processors, other numbers of
threads and other versions of torch round otherwise, and a row at the border changes its label."""


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What a rerun came to."""

    version: str
    """Of the run that was made again."""
    before: dict[str, float]
    after: dict[str, float]
    same: bool
    """Whether no figure differs by more than `TOLERANCE`."""


def read(path: Path) -> Run:
    """The record at `path`, or in the folder `path`.

    Raises:
        TrainerError: there is none, or it is no record of a run that can be made again.
    """
    file = path / runs.RECORD if path.is_dir() else path
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainerError(f"{file} is no record of a run: {error}") from error
    if run.minutes is not None:
        raise TrainerError(
            f"run {run.version} was limited to {run.minutes:g} minutes, so its learning rate "
            "followed the clock: it cannot be made again; set max_steps or epochs in a recipe"
        )
    if not run.metrics:
        raise TrainerError(f"run {run.version} did not end: it has no figures to compare with")
    return run


def rows_of_files(run: Run) -> Dataset:
    """The rows of a run on files.

    Raises:
        TrainerError: a file is not there or has another content.
    """
    for source in run.sources:
        path = Path(source.path)
        if not path.is_file() or sha256(path) != source.sha256:
            raise TrainerError(f"{path} is not the file that run {run.version} was made from")
    learned, *judged = [files.read(Path(one.path), run.task) for one in run.sources]
    if judged:
        return dataset.judged_by(learned, judged[0], run.task)
    return dataset.build(learned, run.task, run.recipe.held_back)


async def rows_of_labels(settings: Settings, run: Run) -> Dataset:
    """The rows of a run on the bus.

    Raises:
        TrainerError: the topic no longer holds them.
    """
    records = await labels.read(settings, run.ranges)
    rows = dataset.latest(labels.rows(records, run.task.name))
    return dataset.build(rows, run.task, run.recipe.held_back)


def train(run: Run, rows: Dataset, out: Path) -> Again:
    """Make the run again and compare."""
    report = train_rows(run.task, run.recipe, rows, out, origin=f"run {run.version} again")
    if report is None:
        raise TrainerError("a run is made again in one process: start it without torchrun")
    after = {name: float(getattr(report, name)) for name in COMPARED}
    return Again(
        version=run.version,
        before={name: run.metrics[name] for name in COMPARED},
        after=after,
        same=all(abs(run.metrics[name] - after[name]) <= TOLERANCE for name in COMPARED),
    )
