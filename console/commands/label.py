"""`headrace label`: a person says what is right, the model's least certain verdicts first."""

from __future__ import annotations

import asyncio
import getpass
import string
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from console import output
from console.failures import Exit, Failure
from console.scope import Scope, command

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from console.labelling import Question
    from streams.message import Message
    from streams.settings import Settings

app = typer.Typer()

EPILOG = """Examples:

headrace label --task sentiment --most 20

headrace label --withdraw label-1a2b3c4d5e6f70819203

headrace label --conflicts"""

_SKIP, _UNDO, _QUIT, _NAME = "s", "u", "q", "/"
_KEYS = string.digits[1:] + "".join(
    letter for letter in string.ascii_lowercase if letter not in {_SKIP, _UNDO, _QUIT}
)


@command(app, epilog=EPILOG)
def label(
    scope: Scope,
    *,
    task: Annotated[str, typer.Option(help="The task to label for.")] = "sentiment",
    most: Annotated[int, typer.Option(min=1, help="Texts to ask about at most.")] = 20,
    labeller: Annotated[str, typer.Option(help="Who says so; default: the user's name.")] = "",
    withdraw: Annotated[
        str | None, typer.Option(metavar="ID", help="Take the label of this id back.")
    ] = None,
    conflicts: Annotated[
        bool, typer.Option("--conflicts", help="Show labels that contradict each other.")
    ] = False,
) -> None:
    """Ask for labels in the terminal, one key each; what the model is least sure of comes first.

    Each answer goes to labels.examples, from which the trainer learns. With --json nothing is
    asked: the questions are printed.
    """
    settings = scope.cluster()
    if withdraw is not None:
        asyncio.run(_withdraw(settings, withdraw))
        _say(scope, {"withdrawn": withdraw}, f"withdrawn: {withdraw}")
    elif conflicts:
        asyncio.run(_conflicts(scope, settings))
    elif scope.json:
        for question in asyncio.run(_queue(settings, task, most)):
            output.line({**_shown(question), "id": question.id})
    else:
        asyncio.run(_ask_all(settings, task, most, labeller or getpass.getuser()))


async def _withdraw(settings: Settings, example_id: str) -> None:
    from console import labelling
    from streams.publishing import publisher

    if not await labelling.is_there(settings, example_id):
        raise Failure(
            Exit.NOT_FOUND,
            f"no label {example_id!r}; see `headrace read labels.examples --until-end`",
        )
    async with publisher(settings) as sender:
        await sender.send(labelling.withdrawal(example_id))


async def _conflicts(scope: Scope, settings: Settings) -> None:
    from trainer import conflicts, labels

    found = conflicts.find(await labels.everything(settings))
    if scope.json:
        for one in found:
            output.line(one)
        return
    output.table(
        "",
        ["task", "target", "text", "said", "holds"],
        [
            (
                one.task,
                one.target,
                one.text,
                "  ".join(f"{label} ({who or 'nobody'})" for _, label, who in one.said),
                one.holds,
            )
            for one in found
        ],
    )


async def _queue(settings: Settings, task: str, most: int) -> Sequence[Question]:
    from console import labelling

    return await labelling.queue(settings, task, most)


async def _ask_all(settings: Settings, task: str, most: int, labeller: str) -> None:
    from console import labelling
    from streams import cluster

    questions = await _queue(settings, task, most)
    if not questions:
        output.text(f"nothing to ask: no result of {task} is without a label")
        return
    producer = cluster.producer(settings)
    await producer.start()
    given: list[str] = []
    try:
        at = 0
        while at < len(questions):
            said = await asyncio.to_thread(_ask, questions[at], at + 1, len(questions))
            if said == _QUIT:
                break
            if said == _UNDO:
                at = max(0, at - 1)
                if given and given[-1] == questions[at].id:
                    await _send(producer, labelling.withdrawal(given.pop()))
                continue
            if said != _SKIP:
                await _send(producer, labelling.answer(questions[at], said[1:], labeller))
                given.append(questions[at].id)
            at += 1
    finally:
        await producer.stop()
    output.text(f"{len(given)} labels published")


async def _send(producer: AIOKafkaProducer, message: Message) -> None:
    await (await message.send(producer))


def _ask(question: Question, number: int, of: int) -> str:
    """One of the command keys, or `=` and the label that the person chose."""
    about = f" [about {question.target}]" if question.target else ""
    output.text(f"\n{number}/{of}{about}  {question.text}")
    output.text(f"the model: {question.said} ({question.confidence:.0%})")
    keys = dict(zip(_KEYS, question.labels, strict=False))
    shown = [f"{key} {label}" for key, label in keys.items()]
    if len(question.labels) > len(keys):
        shown.append(f"{_NAME} another, by its name")
    output.text("  ".join([*shown, f"{_SKIP} skip", f"{_UNDO} undo", f"{_QUIT} quit"]))
    while True:
        key = _key()
        if key == _NAME:
            name = sys.stdin.readline().strip()
            if name in question.labels:
                return f"={name}"
            output.text(f"{name!r} is not a label of {question.task}")
        if key in keys:
            output.text(f"-> {keys[key]}")
            return f"={keys[key]}"
        if key in {_SKIP, _UNDO, _QUIT}:
            return key


def _key() -> str:
    """One key; the end of the input quits."""
    if sys.stdin.isatty():
        import click

        return click.getchar().lower()
    return (sys.stdin.read(1) or _QUIT).lower()


def _shown(question: Question) -> dict[str, object]:
    return {
        "task": question.task,
        "target": question.target,
        "text": question.text,
        "said": question.said,
        "confidence": round(question.confidence, 4),
        "version": question.version,
    }


def _say(scope: Scope, value: dict[str, str], message: str) -> None:
    if scope.json:
        output.line(value)
    else:
        output.text(message)
