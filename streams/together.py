"""Parts of a service that live and end together.

An `asyncio.TaskGroup` takes a child that was cancelled from within for one that was no longer
wanted, and goes on without it. In a service nothing is unwanted: a part that has ended, however
it did, ends the service, and its supervisor starts it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

_END_S: Final = 15.0


class EndedError(Exception):
    """A part of a service ended although nobody had asked it to."""


async def together(*parts: Coroutine[Any, Any, object]) -> NoReturn:
    """Run `parts` until the first one ends, then cancel the others and see them end.

    Raises:
        EndedError: one returned, or was cancelled from within.
        Exception: what one has raised.
    """
    tasks = [asyncio.create_task(part, name=getattr(part, "__qualname__", "")) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_END_S)
    for task in done:
        see(task)
    raise EndedError(f"{', '.join(task.get_name() for task in done)} ended by itself")


def see(task: asyncio.Task[Any]) -> None:
    """Raise what a task that is done has raised.

    Raises:
        EndedError: it was cancelled from within; the caller is not.
    """
    if task.cancelled():
        raise EndedError(f"{task.get_name()} was cancelled from within")
    task.result()


def is_cancelled() -> bool:
    """Whether somebody has cancelled the task that runs: else a client's own end came up to it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
