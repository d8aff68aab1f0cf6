"""How commands speak: tables and lines for people, JSON for programs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]


def console() -> Console:
    """Standard output for people."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def errors() -> Console:
    """Standard error for people."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def line(value: Any) -> None:
    """One JSON value on one line of standard output."""
    from schemas.envelope import to_json

    sys.stdout.write(to_json(value).decode() + "\n")
    sys.stdout.flush()


def text(message: str) -> None:
    """One plain line on standard output."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; nothing in the cells is taken for markup.

    Where standard output is no terminal the table is as wide as its content, so that
    nothing is cut off in a pipe.
    """
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        right = column in {"lag", "end", "committed", "partition", "offset", "restarts", "pid"}
        grid.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    out = console()
    if not out.is_terminal:
        out.width = 400
    out.print(grid)


def say(*, as_json: bool) -> Say:
    """How a long-running command tells what it does: lines, or JSON lines with `message`."""
    if as_json:
        return lambda message: line({"message": message})
    return text


@contextmanager
def progress(name: str, *, enabled: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error where somebody watches; call it with what, step and steps."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    out = errors()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=not enabled or not out.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=None)

        def show(what: str, step: int, of: int) -> None:
            bar.update(task, description=what, completed=step, total=of or None)

        yield show


@contextmanager
def every(seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` again and again, in a thread, while the body runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
