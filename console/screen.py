"""The live screen of `headrace demo`, drawn from a `Board`; it fits the terminal it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from console.board import Board, Ticker

WIDE: Final = 116
"""Columns from which table and verdicts stand side by side."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_COLOURS: Final = {"positive": "green", "neutral": "bright_black", "negative": "red"}
_TURN: Final = 0.05
"""Momentum that counts as a direction."""
_SPARK: Final = 16
_ALERTS_SHOWN: Final = 4


def render(board: Board, width: int, height: int) -> RenderableType:
    """The whole screen for a terminal of `width` by `height` characters."""
    layout = Layout()
    alerts = min(max(len(board.alerts), 1), _ALERTS_SHOWN) + 2
    layout.split_column(
        Layout(_status(board), name="status", size=3),
        Layout(name="body"),
        Layout(_alerts(board), name="alerts", size=alerts),
    )
    rows = height - 3 - alerts
    body = layout["body"]
    if width >= WIDE:
        body.split_row(
            Layout(_tickers(board, rows - 3), name="tickers", size=56),
            Layout(_verdicts(board, rows - 2, width - 56), name="verdicts"),
        )
    else:
        upper = max(rows * 3 // 5, 6)
        body.split_column(
            Layout(_tickers(board, upper - 3), name="tickers", size=upper),
            Layout(_verdicts(board, rows - upper - 2, width), name="verdicts"),
        )
    return layout


def spark(values: Iterable[float], width: int = _SPARK) -> str:
    """The last `width` values in [-1, 1] as bars."""
    shown = list(values)[-width:]
    top = len(_BARS) - 1
    return "".join(_BARS[round((min(max(one, -1.0), 1.0) + 1) / 2 * top)] for one in shown)


def arrow(momentum: float) -> Text:
    """Where the mean is going."""
    if momentum > _TURN:
        return Text("▲", "green")
    if momentum < -_TURN:
        return Text("▼", "red")
    return Text("▶", "bright_black")


def _status(board: Board) -> RenderableType:
    first = Text(no_wrap=True, overflow="ellipsis")
    first.append(" Headrace ", "bold white on blue")
    first.append(f"  {board.stage}  ", "bold")
    if board.model:
        first.append(board.model, "cyan")
    running = sum(one.state == "running" for one in board.services)
    parts = [
        f"services {running}/{len(board.services)}",
        f"feed {board.published}/{board.to_publish}",
        f"verdicts {board.verdict_count}, {board.rate():.1f}/s",
        f"lag {'?' if board.lag is None else board.lag}",
        f"dead letters {board.dead_count}",
    ]
    second = Text(" " + " · ".join(parts), no_wrap=True, overflow="ellipsis")
    third: RenderableType = Text(
        f" {board.message() or 'Ctrl-C stops everything'}",
        "bright_black",
        no_wrap=True,
        overflow="ellipsis",
    )
    if board.training is not None:
        step, of, eta = board.training
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        left = "" if eta is None else f", {eta:.0f} s left"
        bar.add_row(
            " teaching the first model",
            ProgressBar(total=max(of, 1), completed=step),
            f"step {step}/{of}{left} ",
        )
        third = bar
    return Group(first, second, third)


def _tickers(board: Board, rows: int) -> RenderableType:
    # The tickers with the newest verdicts, in alphabetical order: rows come and go, but do
    # not jump about with each verdict.
    newest = sorted(board.tickers.values(), key=lambda one: -one.changed)[: max(rows, 1)]
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("ticker", no_wrap=True, overflow="ellipsis", max_width=10)
    table.add_column("+", justify="right", no_wrap=True, style="green")
    table.add_column("0", justify="right", no_wrap=True, style="bright_black")
    table.add_column("-", justify="right", no_wrap=True, style="red")
    table.add_column("1h", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("trend", no_wrap=True, min_width=_SPARK)
    for one in sorted(newest, key=lambda one: one.name):
        table.add_row(*_row(one))
    more = len(board.tickers) - len(newest)
    title = "sentiment per ticker" + (f" ({more} more)" if more > 0 else "")
    return Panel(table, title=title, title_align="left", border_style="bright_black")


def _row(one: Ticker) -> tuple[RenderableType, ...]:
    name = Text(one.name)
    if one.alerts:
        name.append(" !", "bold red")
    mean = Text("")
    if one.mean is not None:
        mean = Text(f"{one.mean:+.2f}", "green" if one.mean > 0 else "red")
    return (
        name,
        str(one.labels["positive"]),
        str(one.labels["neutral"]),
        str(one.labels["negative"]),
        mean,
        arrow(one.momentum) if one.mean is not None else "",
        Text(spark(one.means), "cyan"),
    )


def _verdicts(board: Board, rows: int, width: int) -> RenderableType:
    lines = []
    for one in list(board.verdicts)[-max(rows, 1) :][::-1]:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{one.at:%H:%M} " if one.at else "      ", "bright_black")
        line.append(f"{one.ticker:<6.10} ", "bold")
        label = one.label if width >= 60 else one.label[:3]
        line.append(f"{label:<8} {one.confidence:.2f} ", _COLOURS.get(one.label, ""))
        line.append(one.text)
        lines.append(line)
    if not lines:
        lines.append(Text("the first verdict appears here", "bright_black"))
    return Panel(
        Group(*lines), title="latest verdicts", title_align="left", border_style="bright_black"
    )


def _alerts(board: Board) -> RenderableType:
    lines = []
    for one in list(board.alerts)[-_ALERTS_SHOWN:][::-1]:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{one.at} ", "bright_black")
        line.append(f"{one.ticker} ", "bold red")
        line.append(f"{one.count} texts, mean {one.mean:+.2f} against {one.baseline:+.2f}: ")
        line.append(one.text)
        lines.append(line)
    if not lines:
        lines.append(Text("none so far", "bright_black"))
    return Panel(
        Group(*lines),
        title=f"alerts: {board.alert_count} negative bursts",
        title_align="left",
        border_style="red" if board.alerts else "bright_black",
    )
