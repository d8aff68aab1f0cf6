"""`headrace read`, `watch` and `threads`: what is on the topics, committed records only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from streams.reading import Record


class Watched(StrEnum):
    """What `watch` follows."""

    RESULTS = "results"
    TRENDS = "trends"
    ALERTS = "alerts"


READ_EPILOG = """Examples:

headrace read kernel.results --from earliest --until-end --jsonl > results.jsonl

headrace read feed.events --from 2026-03-02T07:00:00Z --limit 5"""

WATCH_EPILOG = """Examples:

headrace watch results --key TRLM

headrace watch alerts --json"""


app = typer.Typer()


@command(app, epilog=READ_EPILOG)
def read(
    scope: Scope,
    *,
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    start: Annotated[
        str, typer.Option("--from", help="earliest, latest, an offset, or a time (RFC 3339).")
    ] = "earliest",
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at what is there now.")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
    key: Annotated[str | None, typer.Option(help="Only records with this key.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many.")] = None,
) -> None:
    """Print the committed records of a topic.

    A JSON line holds topic, partition, offset, timestamp, key, headers, value and
    encoding: `json`, or `base64` where the value is not JSON.
    """
    from streams.reading import as_line, parse_start
    from streams.reading import read as records

    try:
        begin = parse_start(start)
    except ValueError as error:
        raise Failure(Exit.USAGE, f"--from: {error}") from error
    as_json = jsonl or scope.json
    found = records(
        scope.cluster(),
        [topic],
        start=begin,
        until_end=until_end,
        limit=limit,
        where=_with_key(key),
    )
    asyncio.run(
        _print(found, lambda one: output.line(as_line(one)) if as_json else _show_plain(one))
    )


@command(app, epilog=WATCH_EPILOG)
def watch(
    scope: Scope,
    *,
    what: Annotated[Watched, typer.Argument(help="results, trends or alerts.")],
    key: Annotated[str | None, typer.Option(help="Only this thread, e.g. a ticker.")] = None,
    start: Annotated[
        str, typer.Option("--from", help="latest, earliest, an offset, or a time.")
    ] = "latest",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many.")] = None,
) -> None:
    """Follow results, trends or alerts as they are committed; Ctrl-C ends it."""
    from console.lines import describe
    from schemas.topics import ALERTS, RESULTS, TRENDS
    from streams.reading import as_line, parse_start
    from streams.reading import read as records

    topic = {Watched.RESULTS: RESULTS, Watched.TRENDS: TRENDS, Watched.ALERTS: ALERTS}[what]
    try:
        begin = parse_start(start)
    except ValueError as error:
        raise Failure(Exit.USAGE, f"--from: {error}") from error
    found = records(
        scope.cluster(),
        [topic.name],
        start=begin,
        until_end=False,
        limit=limit,
        where=_with_key(key),
    )
    asyncio.run(
        _print(
            found,
            lambda one: output.line(as_line(one)) if scope.json else output.text(describe(one)),
        )
    )


threads = typer.Typer(help="Everything that carries one key.", no_args_is_help=True)
app.add_typer(threads, name="threads")


@command(threads, epilog="Example:\n\nheadrace threads show TRLM --json")
def show(
    scope: Scope,
    *,
    key: Annotated[str, typer.Argument(help="The key: a ticker, a conversation.")],
    limit: Annotated[int | None, typer.Option(min=1, help="The last so many only.")] = None,
) -> None:
    """Show a thread in order: feed events, requests, results, trends, alerts, dead letters.

    Feed events are those with the key itself and those that caused a request of the
    thread.
    """
    from console.lines import describe
    from streams.reading import as_line
    from streams.thread import thread

    found = asyncio.run(thread(scope.cluster(), key))
    if not found:
        raise Failure(Exit.NOT_FOUND, f"nothing carries the key {key!r}")
    for one in found[-limit:] if limit else found:
        if scope.json:
            output.line(as_line(one))
        else:
            output.text(f"{one.topic:28} {describe(one)}")


async def _print(records: AsyncIterator[Record], show: Callable[[Record], Any]) -> None:
    async for record in records:
        show(record)


def _with_key(key: str | None) -> Callable[[Record], bool] | None:
    if key is None:
        return None
    wanted = key.encode()
    return lambda record: record.key == wanted


def _show_plain(record: Record) -> None:
    from streams.reading import as_line

    shown = as_line(record)
    output.text(
        f"{record.topic}/{record.partition}@{record.offset} {shown['timestamp']} "
        f"{shown['key']} {shown['value']}"
    )
