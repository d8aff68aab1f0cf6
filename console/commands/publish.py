"""`headrace publish`: rows of a file become events on a topic."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from console.events import Mapper
    from console.rows import BadRow, Format
    from streams.settings import Settings

_BAD_SHOWN = 100
"""Bad rows that the summary names one by one; all of them go to standard error."""

EPILOG = """Examples:

headrace publish feed.csv --tickers symbols --separator ","

zcat posts.jsonl.gz | headrace publish - --text body --time created --speed 60

headrace publish labels.csv --topic labels.examples --json"""


@dataclass
class Summary:
    """What became of a file."""

    topic: str
    published: int = 0
    bad: int = 0
    seconds: float = 0.0
    bad_rows: list[dict[str, Any]] = field(default_factory=list)

    def count_bad(self, row: BadRow) -> None:
        """Say on standard error what is wrong with the row."""
        self.bad += 1
        if len(self.bad_rows) < _BAD_SHOWN:
            self.bad_rows.append({"row": row.number, "line": row.line, "reason": row.reason})
        output.errors().print(
            f"row {row.number} (line {row.line}): {row.reason}", markup=False, style="yellow"
        )


class Pace:
    """Waits so that events leave as far apart as their times are, `speed` times faster."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: tuple[datetime, float] | None = None

    async def wait(self, moment: datetime | None) -> None:
        """Return when it is the turn of an event of this time."""
        if self._speed is None or moment is None:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (moment, now)
        due = self._first[1] + (moment - self._first[0]).total_seconds() / self._speed
        if due > now:
            await asyncio.sleep(due - now)


def parse_speed(text: str) -> float | None:
    """`max` (None: no waiting) or how many times faster than the clock."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if speed <= 0:
        raise Failure(Exit.USAGE, f"--speed {text}: give max, 1, 60 or another positive number")
    return speed


async def publish_rows(
    settings: Settings,
    stream: BinaryIO,
    kind: Format,
    mapper: Mapper,
    summary: Summary,
    *,
    speed: float | None,
    limit: int | None,
    tick: Any,
) -> None:
    """Publish every good row; `tick` is called with the number of rows read so far."""
    from console.events import published_at
    from console.rows import BadRow, rows
    from streams.publishing import publisher
    from streams.reading import partitions

    await partitions(settings, [summary.topic])
    pace = Pace(speed)
    async with publisher(settings) as sender:
        source = rows(stream, kind)
        # Reading blocks while standard input has nothing: off the loop, or what was sent
        # would wait in the producer for the next line.
        while (row := await asyncio.to_thread(next, source, None)) is not None:
            made = row if isinstance(row, BadRow) else mapper.event(row)
            if isinstance(made, BadRow) or isinstance(row, BadRow):
                summary.count_bad(made)  # type: ignore[arg-type]
                continue
            await pace.wait(published_at(made))
            await sender.send(mapper.message(row, made))
            summary.published += 1
            tick(row.number)
            if limit is not None and summary.published >= limit:
                break
    summary.published = sender.acknowledged


app = typer.Typer()


def feed_name(file: str) -> str:
    """What a file's events are keyed by: its name without folder and endings."""
    return "stdin" if file == "-" else Path(file).name.split(".")[0]


@command(app, epilog=EPILOG)
def publish(
    scope: Scope,
    *,
    file: Annotated[str, typer.Argument(help="CSV or JSON Lines, .gz too; - is stdin.")],
    topic: Annotated[str, typer.Option(help="Topic to publish to.")] = "feed.events",
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    id: Annotated[str, typer.Option(help="Column of the event id.")] = "id",  # noqa: A002
    id_prefix: Annotated[str, typer.Option(help="Put before every event id.")] = "",
    tickers: Annotated[str, typer.Option(help="Column of the tickers.")] = "tickers",
    separator: Annotated[str, typer.Option(help="What stands between tickers.")] = " ",
    time_column: Annotated[
        str, typer.Option("--time", help="Column of the time: RFC 3339 or epoch.")
    ] = "published_at",
    source_column: Annotated[str, typer.Option(help="Column of the source.")] = "source",
    key: Annotated[
        str | None,
        typer.Option(
            help="Column of the key; without it, a feed keeps its order: the key is its name."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Labels: column of the target.")] = "target",
    label: Annotated[str, typer.Option(help="Labels: column of the label.")] = "label",
    task: Annotated[str, typer.Option(help="Labels: the task.")] = "sentiment",
    speed: Annotated[
        str, typer.Option(help="max, or a factor: 1 replays by the rows' times.")
    ] = "max",
    limit: Annotated[int | None, typer.Option(min=1, help="Publish no more rows.")] = None,
    format: Annotated[  # noqa: A002
        str, typer.Option(help="csv, jsonl or auto.")
    ] = "auto",
) -> None:
    """Publish the rows of a CSV or JSON Lines file as events.

    A bad row is named on standard error with its number and the reason; the others
    are published, and the exit code is 5.
    """
    from console.events import Columns, Mapper
    from console.rows import format_of, opened
    from schemas.topics import CATALOGUE

    if topic not in CATALOGUE or CATALOGUE[topic].carries is None:
        raise Failure(Exit.USAGE, f"--topic {topic}: not a topic that takes rows")
    if format not in {"auto", "csv", "jsonl"}:
        raise Failure(Exit.USAGE, f"--format {format}: give csv, jsonl or auto")
    columns = Columns(
        text=text,
        id=id,
        id_prefix=id_prefix,
        tickers=tickers,
        separator=separator,
        time=time_column,
        source=source_column,
        key=key,
        feed=feed_name(file),
        target=target,
        label=label,
        task=task,
    )
    mapper = Mapper(CATALOGUE[topic], columns)
    factor = parse_speed(speed)
    settings = scope.cluster()
    summary = Summary(topic)
    began = time.monotonic()
    with (
        opened(file) as stream,
        output.progress(file, enabled=not scope.json) as shown,
    ):
        kind: Format = format_of(file, stream) if format == "auto" else format  # type: ignore[assignment]
        asyncio.run(
            publish_rows(
                settings,
                stream,
                kind,
                mapper,
                summary,
                speed=factor,
                limit=limit,
                tick=lambda number: shown(file, number, limit or 0),
            )
        )
    summary.seconds = round(time.monotonic() - began, 3)
    _tell(scope, summary)


def _tell(scope: Scope, summary: Summary) -> None:
    if scope.json:
        output.line(summary.__dict__)
    else:
        rate = summary.published / max(summary.seconds, 0.001)
        output.text(
            f"{summary.published} published to {summary.topic}, {summary.bad} bad rows, "
            f"{summary.seconds:.1f} s, {rate:.0f}/s"
        )
    if summary.bad:
        raise typer.Exit(Exit.PARTLY)
