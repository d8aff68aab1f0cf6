"""`headrace bench`: figures of this machine, as JSON, each with its ceiling in the same run."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.scope import Scope, command

app = typer.Typer()
bench = typer.Typer(
    help="Measure this machine: each figure against its ceiling in the same run.",
    no_args_is_help=True,
)
app.add_typer(bench, name="bench")


@command(bench, epilog="Example:\n\nheadrace bench main --feed tweets.csv.gz --limit 5000 --json")
def main(
    scope: Scope,
    feed: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV, .gz too.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many events.")] = None,
) -> None:
    """Replay a feed through the whole product, from an empty folder, and count."""
    from proof.bench.main import main as run

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        figures = asyncio.run(run(feed, limit, Path(folder), _progress(scope)))
    output.line(figures)


@command(bench, epilog="Example:\n\nheadrace bench scheduler --token-ms 0.03 --json")
def scheduler(
    scope: Scope,
    trace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON lines: at, tokens, urgency, thread."),
    ] = None,
    pass_ms: Annotated[float, typer.Option(min=0, help="Cost of a forward pass.")] = 1.5,
    token_ms: Annotated[float, typer.Option(min=0, help="Cost of each padded token.")] = 0.06,
    budget: Annotated[int, typer.Option(min=8, help="Padded tokens in a batch.")] = 1_024,
) -> None:
    """Compare the scheduler with FIFO and round robin, in simulated time."""
    from proof.bench.scheduler import main as run
    from proof.bench.scheduler import rows
    from proof.bench.simulation import Costs

    try:
        figures = run(Costs(pass_ms=pass_ms, token_ms=token_ms, budget=budget), trace)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if scope.json:
        output.line(figures)
        return
    columns = ("scenario", "policy", "group", "p50 ms", "p99 ms", "requests/s", "waste", "bulk")
    output.table("Latency from arrival to commit, simulated", columns, rows(figures))
    for one in figures.get("promises", []):
        kept = "kept" if one["kept"] else "NOT KEPT"
        output.text(f"{kept}: {one['promise']}: {one['figure']} (bound {one['bound']})")


def _progress(scope: Scope) -> output.Say:
    """Progress goes to standard error, where somebody watches."""
    return (lambda _: None) if scope.json else (lambda text: output.errors().print(text))
