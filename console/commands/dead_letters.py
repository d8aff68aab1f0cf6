"""`headrace dead-letters`: what could not be answered, why, and another try."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from datetime import datetime

    from streams.dead_letters import Found

REPLAY_EPILOG = """Examples:

headrace dead-letters replay dead:finance.reader:feed.events:0:17

headrace dead-letters replay --error unknown-task --all"""


app = typer.Typer()
letters = typer.Typer(help="Records that could not be answered.", no_args_is_help=True)
app.add_typer(letters, name="dead-letters")


@command(letters, name="list", epilog="Example:\n\nheadrace dead-letters list --error not-json")
def list_letters(
    scope: Scope,
    *,
    error: Annotated[str | None, typer.Option(help="Only this error class.")] = None,
    key: Annotated[str | None, typer.Option(help="Only originals with this key.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only from this topic.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many.")] = None,
) -> None:
    """List dead letters: id, error class, reason, and when the original was put back."""
    from msgspec.structs import asdict

    from streams.dead_letters import replays

    async def main() -> tuple[list[Found], dict[str, datetime]]:
        found = await _find(scope, error_class=error, key=key, topic=topic, limit=limit)
        return found, await replays(scope.cluster())

    found, replayed = asyncio.run(main())
    if scope.json:
        for one in found:
            output.line(asdict(one.letter) | {"replayed_at": replayed.get(one.letter.id)})
        return
    output.table(
        "",
        ["id", "error", "service", "failed at", "replayed at", "reason"],
        [
            (
                one.letter.id,
                one.letter.error_class,
                one.letter.service,
                _moment(one.letter.failed_at),
                _moment(replayed.get(one.letter.id)),
                one.letter.reason,
            )
            for one in found
        ],
    )


@command(letters)
def show(
    scope: Scope,
    *,
    id: Annotated[str, typer.Argument(help="Id of the dead letter.")],  # noqa: A002
) -> None:
    """Show one dead letter with its original bytes."""
    found = asyncio.run(_find(scope, ids=[id]))
    _all_found([id], found)
    letter = found[0].letter
    if scope.json:
        output.line(letter)
        return
    source = letter.source
    output.text(f"id        {letter.id}")
    output.text(f"error     {letter.error_class}: {letter.reason}")
    output.text(f"said by   {letter.service} {letter.versions}")
    output.text(f"failed    {letter.failed_at.isoformat()}")
    output.text(f"original  {source.topic}/{source.partition}@{source.offset}")
    output.text(f"key       {_bytes(source.key)}")
    for name, content in source.headers:
        output.text(f"header    {name}: {_bytes(content)}")
    output.text(f"value     {_bytes(source.value)}")


@command(letters, epilog=REPLAY_EPILOG)
def replay(
    scope: Scope,
    *,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.")] = None,
    all: Annotated[  # noqa: A002
        bool, typer.Option("--all", help="All that the other options choose.")
    ] = False,
    error: Annotated[str | None, typer.Option(help="Only this error class.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only from this topic.")] = None,
) -> None:
    """Put originals back on their topics, each dead letter once.

    The record keeps its key, value and headers and gains `headrace-replay-of`; originals
    of one key go back in their order. A dead letter that was replayed is marked, and a
    second replay of it does nothing.
    """
    from streams.dead_letters import replay as put_back

    if bool(ids) == all:
        raise Failure(Exit.USAGE, "name dead letters by id, or choose with --all")

    async def main() -> dict[str, Any]:
        settings = scope.cluster()
        found = await _find(scope, ids=ids or [], error_class=error, topic=topic)
        _all_found(ids or [], found)
        return dict(await put_back(settings, found))

    for letter, outcome in asyncio.run(main()).items():
        if scope.json:
            output.line({"id": letter, "outcome": outcome})
        else:
            output.text(f"{letter}  {outcome}")


async def _find(scope: Scope, **chosen: Any) -> list[Found]:
    from streams.dead_letters import find

    return [one async for one in find(scope.cluster(), **chosen)]


def _all_found(ids: list[str], found: list[Found]) -> None:
    missing = set(ids) - {one.letter.id for one in found}
    if missing:
        raise Failure(
            Exit.NOT_FOUND,
            f"no dead letter {', '.join(sorted(missing))}; see `headrace dead-letters list`",
        )


def _moment(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds")


def _bytes(content: bytes | None) -> str:
    """Text where it is printable text, else base64 with a marker."""
    if content is None:
        return "(none)"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\n\t" for character in text):
        return text
    return f"base64:{base64.b64encode(content).decode()}"
