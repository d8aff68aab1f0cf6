"""`headrace train` and `evaluate`: a run on files, in this process, without a cluster."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console import output
from console.scope import Scope, command

if TYPE_CHECKING:
    from trainer.metrics import Report

app = typer.Typer()


class Precision(StrEnum):
    """Numeric precision of the graph that answers."""

    AUTO = "auto"
    FP32 = "fp32"
    INT8 = "int8"
    FP16 = "fp16"


TRAIN_EPILOG = """Examples:

headrace train --task sentiment --data train.csv --out models/mine

headrace train --task entities --data train.conll --eval testa.conll --recipe best --out m

headrace train --task my-task.toml --data t.csv --eval v.csv --recipe full --out m --minutes 30

torchrun --nproc-per-node 2 -m console.main train --task intents --data train.csv --out m"""

EVALUATE_EPILOG = """Example:

headrace evaluate --model models/mine --data test.csv --json"""


@command(app, epilog=TRAIN_EPILOG)
def train(
    scope: Scope,
    *,
    data: Annotated[
        Path, typer.Option("--data", help="CSV: text, label, target if any; entities: CoNLL.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
    task: Annotated[str, typer.Option(help="Name of a task, or a task file.")] = "sentiment",
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="File to judge by; else a part is held back.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe (best: the strongest), or TOML.")
    ] = "starter",
    minutes: Annotated[float | None, typer.Option(min=0.1, help="End within this time.")] = None,
) -> None:
    """Train a model on a file of labels and leave it, exported and measured, in a folder.

    A run that was killed goes on when the same command is given again. Several processes, also
    on several hosts, train one model under torchrun. Services learn by themselves from the
    topic labels.examples; this is for files.
    """
    from trainer.commands import train as run
    from trainer.progress import read

    with output.progress("training", enabled=not scope.json) as shown:

        def look() -> None:
            status = read(out.absolute().with_name(f"{out.name}.run") / "current.json")
            if status is not None:
                shown(status.phase, status.step, status.of)

        with output.every(0.5, look):
            report = run(task, data, out=out, evaluation=evaluation, recipe=recipe, minutes=minutes)
    if report is not None:  # else another process of ours reports
        _tell(scope, report)


@command(app, epilog=EVALUATE_EPILOG)
def evaluate(
    scope: Scope,
    *,
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    data: Annotated[
        Path, typer.Option("--data", help="CSV: text, label, target if any; entities: CoNLL.")
    ],
    precision: Annotated[
        Precision, typer.Option(help="auto is the one that would be served.")
    ] = Precision.AUTO,
) -> None:
    """Measure a model on a labelled file, through the graph that would serve it."""
    from trainer.commands import evaluate as run

    _tell(scope, run(model, data, precision.value))


def _tell(scope: Scope, report: Report) -> None:
    if scope.json:
        output.line(report)
        return
    from trainer.entity_metrics import beside

    low, high = report.accuracy_interval
    output.text(
        f"{report.n} rows: accuracy {report.accuracy:.4f} (95 %: {low:.4f} to {high:.4f}), "
        f"macro F1 {report.macro_f1:.4f}, calibration error {report.ece:.4f} "
        f"[{report.version} {report.precision}]"
    )
    for line in beside(report):
        output.text(line)
    output.table(
        "",
        ["label", "precision", "recall", "F1", "rows"],
        [
            (label, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", one.support)
            for label, one in report.per_label.items()
        ],
    )
