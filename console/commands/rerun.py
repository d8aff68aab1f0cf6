"""`headrace rerun`: make a training run again from its record, and compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

app = typer.Typer()

EPILOG = """Examples:

headrace rerun models/mine.run/run.json --out models/again

headrace rerun data/runs/20261122-093000-a1b2 --out again"""


@command(app, epilog=EPILOG)
def rerun(
    scope: Scope,
    *,
    record: Annotated[Path, typer.Argument(help="run.json of a run, or the folder it lies in.")],
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
) -> None:
    """Train again with the same seed, recipe and rows, and say whether the figures are the same.

    Rows come from the files that the record names, or from the offsets of labels.examples.
    """
    from trainer import rerun as again

    run = again.read(record)
    if run.sources:
        rows = again.rows_of_files(run)
    else:
        rows = asyncio.run(again.rows_of_labels(scope.cluster(), run))
    found = again.train(run, rows, out)
    if scope.json:
        output.line(found)
    else:
        for name, before in found.before.items():
            output.text(f"{name} {before:.4f}, again {found.after[name]:.4f}")
    if not found.same:
        raise Failure(
            Exit.MODEL,
            f"run {found.version} came to other figures (tolerance {again.TOLERANCE:g}): compare "
            "the versions of headrace and torch, and the processors",
        )
