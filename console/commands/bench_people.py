"""`headrace bench loop` and `bench console`: what people do to a running system, and see of it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from console import output
from console.commands.bench import Out, bench, progress
from console.failures import Exit, Failure
from console.scope import Scope, command

app = typer.Typer()


@command(bench, epilog="Example:\n\nheadrace bench loop --rate 20 --out figures --json")
def loop(
    scope: Scope,
    *,
    rate: Annotated[float, typer.Option(min=1, help="Events a second, all the time.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Of the feed.")] = 5,
    out: Out = None,
) -> None:
    """Correct verdicts until a better version is live; then try to get two bad ones live.

    Takes some ten minutes. Every event is counted; exit 1 on an anomaly.
    """
    from proof.bench.everything import save, scratch
    from proof.loop.story import StoryError
    from proof.loop.story import main as run

    with scratch() as folder:
        try:
            figures = asyncio.run(run(folder, progress(scope), rate=rate, seed=seed))
        except StoryError as error:
            raise Failure(Exit.BUG, str(error)) from error
    if out is not None:
        save(out, "loop", figures)
    output.line(figures)
    if figures["anomalies"]:
        raise typer.Exit(1)


@command(bench, name="console", epilog="Example:\n\nheadrace bench console --results 100000 --json")
def console_(
    scope: Scope,
    *,
    results: Annotated[int, typer.Option(min=100, help="On the topics before.")] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=4, help="Of each case.")] = 30.0,
    out: Out = None,
) -> None:
    """Measure the web console: pages ready, answers shown, 2,000 events/s with 20 pages open."""
    from proof.bench.console import main as run
    from proof.bench.console_pages import NotMeasuredError
    from proof.bench.everything import save, scratch

    with scratch() as folder:
        try:
            figures = asyncio.run(run(folder, progress(scope), results=results, seconds=seconds))
        except NotMeasuredError as error:
            raise Failure(Exit.USAGE, str(error)) from error
    if out is not None:
        save(out, "console", figures)
    output.line(figures)
