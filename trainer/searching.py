"""A whole search on files: try, train the winner on all rows, write recipe and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from trainer import backbone as backbones_of
from trainer import commands, runs, tasks
from trainer.errors import TrainerError
from trainer.metrics import Report
from trainer.progress import Progress
from trainer.recipe_files import load as load_recipe

MODEL: Final = "model"
_MIN_FINAL_MINUTES: Final = 0.5


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to."""

    folder: str
    trial: int
    trials: int
    metric: str
    value: float
    """Of the best trial, on the validation rows."""
    ms: float
    """Its pass over one text at the 99th percentile."""
    report: Report
    """Of the model that was trained on all rows, on the held-back ones."""


def search(
    task: str,
    data: Path,
    *,
    out: Path,
    evaluation: Path | None = None,
    minutes: float,
    max_ms: float | None = None,
    backbones: Sequence[str] = (),
    recipe: str = "starter",
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Search on the rows of `data`; leaves recipe, report and model in `out`.

    Raises:
        TrainerError: with what to do about it.
    """
    began = time.monotonic()
    asked = tasks.find(task)
    start = load_recipe(recipe, asked)
    asked, rows = commands.dataset_of(asked, start, data, evaluation)
    if (out / MODEL).exists():
        raise TrainerError(f"{out} holds a finished search: name a new folder, or remove it")
    # torch takes seconds; errors come first
    from trainer import search as trials  # noqa: PLC0415
    from trainer import search_report  # noqa: PLC0415
    from trainer.search_space import Space  # noqa: PLC0415

    space = Space(
        task=asked,
        data=rows,
        minutes=minutes,
        max_ms=max_ms,
        backbones=tuple(backbones) or (start.backbone or backbones_of.BUNDLED,),
        start=replace(start, options={}, strategy="full"),
    )
    progress = Progress(out / runs.CURRENT, "search", asked.name)
    study, winner = trials.run(space, out, progress, tell)
    said = f"Found by headrace search for {asked.name}: trial {winner.number}, {winner.value:.4f}."
    search_report.write_recipe(out, winner.recipe, said)
    left = minutes - (time.monotonic() - began) / 60
    tell(f"training the winner, trial {winner.number}, on all rows")
    report = commands.train_rows(
        asked,
        winner.recipe,
        rows,
        out / MODEL,
        origin=data.name,
        minutes=max(_MIN_FINAL_MINUTES, left),
    )
    if report is None:
        raise TrainerError("a search runs in one process: start it without torchrun")
    search_report.write_report(out, space, study, winner, report)
    return Found(
        folder=str(out),
        trial=winner.number,
        trials=len(trials.tried(study)),
        metric=asked.metric,
        value=winner.value,
        ms=winner.ms,
        report=report,
    )
