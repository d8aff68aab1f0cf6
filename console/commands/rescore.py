"""`headrace rescore` and `diff`: what another version would have said, and where it differs."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from kernel.comparison import Comparison, Said
    from kernel.rescoring import Rescoring
    from schemas.events import ModelVersion
    from streams.offset_ranges import OffsetRange
    from streams.settings import Settings


class Class(StrEnum):
    """Urgency classes of requests."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BULK = "bulk"


RESCORE_EPILOG = """Examples:

headrace rescore --task sentiment --model 20261122-2 --from 2026-11-22T07:00:00Z --to latest

headrace rescore --model 20261122-2 --urgency standard --from 0 --to 5000 --json"""

DIFF_EPILOG = """Example:

headrace diff --task sentiment --a 20261122-1 --b 20261122-2 --from 2026-11-22T07:00:00Z"""

_PLACE = "earliest, latest, an offset in each partition, or a time (RFC 3339)"
Task = Annotated[str, typer.Option(help="The task.")]
From = Annotated[str, typer.Option("--from", help=f"Where the range begins: {_PLACE}.")]
To = Annotated[str, typer.Option("--to", help="What it ends before, named in the same way.")]
Urgency = Annotated[
    Class | None, typer.Option(help="Only requests of this urgency; without it, of each.")
]
Partition = Annotated[int | None, typer.Option(min=0, help="Only this partition of the topics.")]

app = typer.Typer()


@command(app, epilog=RESCORE_EPILOG)
def rescore(
    scope: Scope,
    *,
    model: Annotated[str, typer.Option(help="The version to ask, whatever its state.")],
    task: Task = "sentiment",
    start: From = "earliest",
    end: To = "latest",
    urgency: Urgency = None,
    partition: Partition = None,
) -> None:
    """Ask a version about requests of the past; its answers go to `kernel.rescored`.

    Live results are not touched. Each offset is answered once for a version: after a kill
    the same command goes on where it stopped, and over a longer range it does the rest.
    """
    from kernel import promotions, registry, rescoring

    settings = scope.cluster()

    async def main(show: rescoring.Progress) -> Rescoring:
        version = promotions.find(await registry.read(settings), task, model)
        _warn_of(version)
        ranges = await _ranges(settings, (start, end), urgency, partition)
        return await rescoring.rescore(settings, version, ranges, show)

    with output.progress(f"asking {model}", enabled=not scope.json) as bar:
        done = asyncio.run(main(lambda at, of: bar(f"asking {model}", at, of)))
    if scope.json:
        output.line(done)
    else:
        _tell(done)


@command(app, epilog=DIFF_EPILOG)
def diff(
    scope: Scope,
    *,
    a: Annotated[str, typer.Option(help="One version.")],
    b: Annotated[str, typer.Option(help="The other version, told against the first.")],
    task: Task = "sentiment",
    start: From = "earliest",
    end: To = "latest",
    urgency: Urgency = None,
    partition: Partition = None,
    show: Annotated[int, typer.Option(min=0, help="How many of the largest differences.")] = 10,
) -> None:
    """Compare two versions over the same requests.

    What a version says is its live result where it answered, else what `rescore` has
    asked it.
    """
    from kernel import comparison, promotions, registry

    if a == b:
        raise Failure(Exit.USAGE, "name two different versions: see `headrace models list`")
    settings = scope.cluster()

    async def main() -> Comparison:
        registered = await registry.read(settings)
        for version in (a, b):
            promotions.find(registered, task, version)
        ranges = await _ranges(settings, (start, end), urgency, partition)
        return await comparison.compare(settings, task, (a, b), ranges, show)

    found = asyncio.run(main())
    if scope.json:
        output.line(found)
    else:
        _compared(found)


async def _ranges(
    settings: Settings, between: tuple[str, str], urgency: Class | None, partition: int | None
) -> list[OffsetRange]:
    from schemas.topics import REQUESTS
    from streams.offset_ranges import resolve
    from streams.reading import parse_start

    start, end = between
    try:
        wanted = parse_start(start), parse_start(end)
    except ValueError as error:
        raise Failure(Exit.USAGE, f"--from, --to: {error}") from error
    topics = [topic.name for name, topic in REQUESTS.items() if urgency in {None, name}]
    return await resolve(settings, topics, wanted, partition)


def _warn_of(version: ModelVersion) -> None:
    if version.state == "refused":
        output.errors().print(
            f"note: {version.version} was refused: {version.reason}", markup=False
        )


def _tell(done: Rescoring) -> None:
    output.text(
        f"{done.task} {done.version}: {done.scored} answers on kernel.rescored; "
        f"{done.offsets} offsets in the range, {done.offsets_before} of them done before"
    )
    if done.other_tasks:
        output.text(f"{done.other_tasks} requests of other tasks passed over")
    if done.refused:
        output.table(
            f"{sum(done.refused.values())} without an answer; the first of them:",
            ["topic", "partition", "offset", "error", "reason"],
            [
                (one.topic, one.partition, one.offset, one.error_class, one.reason)
                for one in done.refusals
            ],
        )


def _compared(found: Comparison) -> None:
    output.text(f"{found.requests} requests of {found.task}, answered by")
    for who, count in (
        ("both", found.both),
        (f"{found.a} alone", found.only_a),
        (f"{found.b} alone", found.only_b),
        ("neither", found.neither),
    ):
        output.text(f"  {who:24} {count}")
    output.text(
        f"the same label to {found.agreeing} of {found.both} ({found.agreement:.2%}); "
        f"mean distance of the scores {found.distance:.4f}"
    )
    if found.transitions:
        _transitions(found)
    if found.furthest:
        _furthest(found)


def _transitions(found: Comparison) -> None:
    labels = sorted({*found.transitions, *(to for row in found.transitions.values() for to in row)})
    output.table(
        f"Labels of {found.a} (rows) and of {found.b} (columns)",
        ["", *labels],
        [
            (label, *(found.transitions.get(label, {}).get(to, 0) for to in labels))
            for label in labels
        ],
    )
    output.table(
        f"Mean change of the scores from {found.a} to {found.b}",
        list(found.change),
        [[f"{move:+.4f}" for move in found.change.values()]],
    )


def _furthest(found: Comparison) -> None:
    from console.lines import clean

    output.table(
        "Furthest apart",
        ["topic", "partition", "offset", found.a, found.b, "distance", "target", "text"],
        [
            (
                one.topic,
                one.partition,
                one.offset,
                _said(one.a),
                _said(one.b),
                f"{one.distance:.3f}",
                clean(one.target or ""),
                clean(one.text),
            )
            for one in found.furthest
        ],
    )


def _said(said: Said) -> str:
    """The answer in a word or two; a vector says nothing to a person."""
    if said.label:
        return f"{said.label} {said.scores[said.label]:.2f}"
    if said.score is not None:
        return f"{said.score:.2f}"
    return " ".join(f"{one.label}:{one.text}" for one in said.entities)
