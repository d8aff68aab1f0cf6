"""`headrace bench`: figures of this machine, as JSON, each with its ceiling in the same run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from console import output
from console.scope import Scope, command

app = typer.Typer()
bench = typer.Typer(
    help="Measure this machine: each figure against its ceiling in the same run.",
    no_args_is_help=True,
)
app.add_typer(bench, name="bench")


class Precision(StrEnum):
    """Numeric precision of the graph that answers."""

    AUTO = "auto"
    FP32 = "fp32"
    INT8 = "int8"
    FP16 = "fp16"


Model = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Artefact folder; else the starter model."),
]
Feed = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="CSV, .gz too; else made-up texts."),
]
Limit = Annotated[int, typer.Option(min=20, help="Different texts in a round.")]
Rounds = Annotated[int, typer.Option(min=1, help="Times that ceiling and subject take turns.")]
Wanted = Annotated[Precision, typer.Option(help="auto is the one that would be served.")]
Seconds = Annotated[float, typer.Option(min=2, help="Of each case.")]
Out = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder to save the figures in, too.")
]
Run = Callable[[Path, Path, output.Say], Awaitable[dict[str, Any]]]


@command(bench, epilog="Example:\n\nheadrace bench main --feed tweets.csv.gz --limit 5000 --json")
def main(
    scope: Scope,
    feed: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV, .gz too.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many events.")] = None,
) -> None:
    """Replay a feed through the whole product, from an empty folder, and count."""
    from proof.bench.main import main as run

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        figures = asyncio.run(run(feed, limit, Path(folder), progress(scope)))
    output.line(figures)


@command(bench, epilog="Example:\n\nheadrace bench ceiling --model models/mine --limit 2000 --json")
def ceiling(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    limit: Limit = 2_000,
    rounds: Rounds = 2,
    out: Out = None,
) -> None:
    """Measure what the model alone does, without Kafka: both precisions, sorted by length."""
    from proof.bench import texts
    from proof.bench.ceiling import main as run

    async def measured(found: Path, _folder: Path, _say: output.Say) -> dict[str, Any]:
        pairs = [(one.text, one.target) for one in texts.questions(feed, limit)]
        return await asyncio.to_thread(run, found, pairs, rounds=rounds)

    _measure(scope, "ceiling", measured, model, out)


@command(bench, epilog="Example:\n\nheadrace bench kernel --precision int8 --rounds 3 --json")
def kernel(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    limit: Limit = 4_000,
    rounds: Rounds = 3,
    precision: Wanted = Precision.AUTO,
    out: Out = None,
) -> None:
    """Measure one kernel over preloaded requests against the offline ceiling, in turn."""
    from proof.bench.kernel import main as run

    _measure(
        scope,
        f"kernel-{precision.value}",
        lambda found, folder, say: run(
            found, folder, say, feed=feed, limit=limit, rounds=rounds, precision=precision.value
        ),
        model,
        out,
    )


@command(
    bench,
    epilog="Example:\n\nheadrace bench latency --seconds 30 --commit-interval-ms 10 "
    "--commit-interval-ms 100 --json",
)
def latency(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    seconds: Seconds = 25.0,
    backlog: Annotated[int, typer.Option(min=1, help="Bulk requests that wait.")] = 50_000,
    burst: Annotated[int, typer.Option(min=50, help="Events that measure the capacity.")] = 3_000,
    commit_interval_ms: Annotated[
        list[int] | None, typer.Option(min=0, help="Compare these; repeat the option.")
    ] = None,
    precision: Wanted = Precision.AUTO,
    out: Out = None,
) -> None:
    """Measure event to readable result in an open loop: loads, hot key, bulk backlog."""
    from proof.bench.latency import COMMIT_INTERVALS_MS, Plan
    from proof.bench.latency import main as run

    plan = Plan(
        feed=feed,
        precision=precision.value,
        seconds=seconds,
        burst=burst,
        backlog=backlog,
        commit_intervals_ms=commit_interval_ms or COMMIT_INTERVALS_MS,
    )
    _measure(scope, "latency", lambda found, folder, say: run(found, folder, say, plan), model, out)


@command(bench, epilog="Example:\n\nheadrace bench peers --peer quix --texts 700 --rounds 1 --json")
def peers(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="This one alone; repeat for several.")
    ] = None,
    texts: Annotated[
        int, typer.Option(min=20, help="Different texts in a round; some peers take 256 at once.")
    ] = 3_000,
    rounds: Rounds = 2,
    precision: Annotated[
        list[Precision] | None, typer.Option(help="fp32 or int8; by default both.")
    ] = None,
    latency: Annotated[
        float, typer.Option(min=0, help="Seconds at 60 events/s for each, too; 0: not.")
    ] = 0.0,
    out: Out = None,
) -> None:
    """Measure the kernel against other ways to put the same model behind Kafka, in turn."""
    from proof.bench.peer_catalogue import BOTH, chosen
    from proof.bench.peers import Plan
    from proof.bench.peers import main as run

    wanted = tuple(one for one in BOTH if not precision or one in precision)
    plan = Plan(tuple(peer or ()), wanted, feed, texts, rounds, latency)
    environments = scope.settings().data.absolute() / "peers"
    try:
        chosen(plan.names)  # before a model is trained
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _measure(
        scope,
        "peers",
        lambda found, folder, say: run(found, folder, environments, say, plan),
        model,
        out,
    )


@command(bench, epilog="Example:\n\nheadrace bench transactions --rounds 5 --json")
def transactions(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    limit: Limit = 4_000,
    light_limit: Annotated[
        int, typer.Option(min=20, help="Texts in a round with a model of no cost.")
    ] = 20_000,
    rounds: Rounds = 3,
    precision: Wanted = Precision.AUTO,
    out: Out = None,
) -> None:
    """Measure what exactly once costs: the kernel with and without transactions, in turn."""
    from proof.bench.transactions import main as run

    _measure(
        scope,
        "transactions",
        lambda found, folder, say: run(
            found,
            folder,
            say,
            feed=feed,
            limit=limit,
            light_limit=light_limit,
            rounds=rounds,
            precision=precision.value,
        ),
        model,
        out,
    )


@command(bench, epilog="Example:\n\nheadrace bench agents --limit 40000 --json")
def agents(
    scope: Scope,
    *,
    limit: Annotated[int, typer.Option(min=100, help="Events in a round.")] = 40_000,
    rounds: Rounds = 2,
    out: Out = None,
) -> None:
    """Measure finance.reader and finance.trends, one process each, over a preloaded topic."""
    from proof.bench.agents import main as run

    async def measured(_: Path, folder: Path, say: output.Say) -> dict[str, Any]:
        return await run(folder, say, limit=limit, rounds=rounds)

    _measure(scope, "agents", measured, None, out)


@command(bench, epilog="Example:\n\nheadrace bench cache --limit 3000 --rounds 3 --json")
def cache(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    limit: Limit = 3_000,
    rounds: Rounds = 1,
    out: Out = None,
) -> None:
    """Measure the result cache on and off at several shares of repeats, and its bound."""
    from proof.bench.cache import main as run

    _measure(
        scope,
        "cache",
        lambda found, folder, say: run(found, folder, say, feed=feed, limit=limit, rounds=rounds),
        model,
        out,
    )


@command(bench, epilog="Example:\n\nheadrace bench scale --kernels 4 --json")
def scale(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    limit: Limit = 3_000,
    seconds: Seconds = 25.0,
    kernels: Annotated[
        int | None, typer.Option(min=1, help="Up to so many; else one for each core.")
    ] = None,
    precision: Wanted = Precision.AUTO,
    out: Out = None,
) -> None:
    """Measure 1 to N kernels, and hold the simulation against a measured case."""
    from proof.bench.scale import main as run

    _measure(
        scope,
        "scale",
        lambda found, folder, say: run(
            found,
            folder,
            say,
            feed=feed,
            limit=limit,
            seconds=seconds,
            kernels=kernels,
            precision=precision.value,
        ),
        model,
        out,
    )


@command(bench, epilog="Example:\n\nheadrace bench soak --minutes 20 --json")
def soak(
    scope: Scope,
    *,
    model: Model = None,
    feed: Feed = None,
    minutes: Annotated[float, typer.Option(min=0.2, help="How long.")] = 20.0,
    burst: Annotated[int, typer.Option(min=50, help="Texts that measure the capacity.")] = 3_000,
    precision: Wanted = Precision.AUTO,
    out: Out = None,
) -> None:
    """Run at 70 % load with model swaps and a cache that churns; watch memory and latency."""
    from proof.bench.soak import main as run

    _measure(
        scope,
        "soak",
        lambda found, folder, say: run(
            found,
            folder,
            say,
            feed=feed,
            minutes=minutes,
            burst=burst,
            precision=precision.value,
        ),
        model,
        out,
    )


@command(bench, epilog="Example:\n\nheadrace bench scheduler --token-ms 0.11 --json")
def scheduler(
    scope: Scope,
    *,
    trace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON lines: at, tokens, urgency, thread."),
    ] = None,
    pass_ms: Annotated[float, typer.Option(min=0, help="Cost of a forward pass.")] = 1.2,
    token_ms: Annotated[float, typer.Option(min=0, help="Cost of each padded token.")] = 0.11,
    passes: Annotated[int, typer.Option(min=1, help="Passes that run side by side.")] = 2,
    budget: Annotated[int, typer.Option(min=8, help="Padded tokens in a batch.")] = 512,
) -> None:
    """Compare the scheduler with FIFO and round robin, in simulated time."""
    from proof.bench.scheduler import main as run
    from proof.bench.scheduler import rows
    from proof.bench.simulation import Costs

    costs = Costs(pass_ms=pass_ms, token_ms=token_ms, passes=passes, budget=budget)
    try:
        figures = run(costs, trace)
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


@command(bench, name="all", epilog="Example:\n\nheadrace bench all --out figures")
def everything(
    _scope: Scope,
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for one JSON file each.")],
    model: Model = None,
    feed: Feed = None,
    size: Annotated[float, typer.Option(min=0.01, help="1: a full run; 0.1: a try.")] = 1.0,
    soak_minutes: Annotated[float, typer.Option(min=0.2, help="Length of the soak.")] = 8.0,
    only: Annotated[
        list[str] | None, typer.Option(help="This one alone; repeat for several.")
    ] = None,
) -> None:
    """Run every benchmark in turn on this machine and save the figures; about 35 minutes."""
    from proof.bench.everything import Wanted, run_all

    wanted = Wanted(model, feed, size, soak_minutes)
    try:
        done = asyncio.run(run_all(out.absolute(), wanted, _told, tuple(only or ())))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    output.line(done)
    if done["failed"]:
        raise typer.Exit(1)


@command(bench, epilog="Example:\n\nheadrace bench report figures --docs docs")
def report(
    scope: Scope,
    *,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="What `bench all` has saved.")
    ],
    docs: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the pages.")
    ] = Path("docs"),
) -> None:
    """Write the tables and pictures of docs/benchmarks.md and docs/scale.md from saved figures."""
    from proof.bench.report import main as run

    try:
        done = run(folder, docs)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if scope.json:
        output.line(done)
        return
    for path in (*done["pages"], *done["pictures"]):
        output.text(f"wrote {path}")
    for name in done["missing"]:
        output.text(f"left as it was, for want of figures: {name}")


def _measure(scope: Scope, name: str, run: Run, model: Path | None, out: Path | None) -> None:
    """Run one benchmark on a scratch folder, save its figures if asked, and print them."""
    from proof.bench.everything import save, scratch
    from proof.bench.stand import starter_model

    say = progress(scope)
    needs_model = name != "agents"
    with scratch() as folder:
        try:
            if model is None and needs_model:
                model = starter_model(folder, say)
            found = (model or folder).absolute()
            figures = asyncio.run(_awaited(run(found, folder / "stand", say)))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if out is not None:
        save(out, name, figures)
    output.line(figures)


async def _awaited(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await work


def progress(scope: Scope) -> output.Say:
    """Progress goes to standard error, where somebody watches."""
    return (lambda _: None) if scope.json else _told


def _told(text: str) -> None:
    output.errors().print(text, markup=False)
