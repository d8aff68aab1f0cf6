"""`headrace search`: find the recipe for a task, its labels and a budget, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.scope import Scope, command

app = typer.Typer()

EPILOG = """Examples:

headrace search --task intents --data train.csv --out found --minutes 30 --max-ms 15

headrace train --task intents --data train.csv --recipe found/recipe.toml --out models/mine"""


@command(app, epilog=EPILOG)
def search(
    scope: Scope,
    *,
    data: Annotated[
        Path, typer.Option("--data", help="CSV: text, label, target if any; entities: CoNLL.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for recipe, report and model.")],
    task: Annotated[str, typer.Option(help="Name of a task, or a task file.")] = "sentiment",
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="File to judge the winner by.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="End within about this time.")] = 30,
    max_ms: Annotated[
        float | None, typer.Option(min=0.1, help="Longest pass over one text, at p99.")
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Backbone to try; may be given several times.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe that says what the search leaves open.")
    ] = "starter",
) -> None:
    """Search backbone, strategy and numbers for a task, and train a model by the best of them.

    OUT gets recipe.toml, report.md (what was tried, and why the winner won) and model/. A search
    that was killed goes on when the same command is given again.
    """
    from trainer.progress import read
    from trainer.searching import search as run

    say = output.say(as_json=scope.json)
    with output.progress("searching", enabled=not scope.json) as shown:

        def look() -> None:
            status = read(out / "current.json")
            if status is not None:
                shown(status.phase, status.step, status.of)

        with output.every(0.5, look):
            found = run(
                task,
                data,
                out=out,
                evaluation=evaluation,
                minutes=minutes,
                max_ms=max_ms,
                backbones=backbone or (),
                recipe=recipe,
                tell=say,
            )
    if scope.json:
        output.line(found)
        return
    output.text(
        f"trial {found.trial} of {found.trials}: {found.metric} {found.value:.4f} at "
        f"{found.ms:.1f} ms; on {found.report.n} held-back rows accuracy "
        f"{found.report.accuracy:.4f}. See {found.folder}/report.md"
    )
