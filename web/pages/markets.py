"""The markets page: each ticker with its line, its volume, its momentum and its last headlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from web.console import Console
from web.pages.frame import Page, chip, heading
from web.pages.spark import spark
from web.queries import Filters, Reader, Row
from web.text import shown

_PAGE: Final = 24
_POINTS: Final = 60
_REFRESH_S: Final = 2.0


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/markets", title="Markets")
    async def markets(request: Request) -> None:
        page = Page(console, request, "Markets")
        with page.body():
            heading(
                "Markets",
                "Sentiment of each ticker over event time, above its volume; most verdicts first.",
            )
            await _Grid(page).build()


@dataclass(frozen=True)
class _Snapshot:
    """What one card shows."""

    row: Row
    line: list[Row]
    trend: Row | None
    last: list[Row]


def look(reader: Reader, search: str, offset: int) -> list[_Snapshot]:
    """The cards of one sheet of the grid."""
    return [
        _Snapshot(
            row,
            reader.line(row["thread"], _POINTS),
            reader.trend(row["thread"]),
            reader.verdicts(Filters(ticker=row["thread"]), 2),
        )
        for row in reader.tickers(search, _PAGE, offset)
    ]


class _Grid:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._search = ""
        self._offset = 0
        self._shown: list[Any] = []

    async def build(self) -> None:
        with ui.row().classes("hr-row"):
            ui.input("Ticker begins with", on_change=lambda e: self._find(e.value)).props(
                "outlined dense clearable debounce=300"
            ).style("width: 190px")
            ui.button(icon="chevron_left", on_click=lambda: self._turn(-_PAGE)).props(
                'flat round color=inherit aria-label="Tickers before these"'
            )
            self._where = ui.label("").classes("hr-soft hr-small")
            ui.button(icon="chevron_right", on_click=lambda: self._turn(_PAGE)).props(
                'flat round color=inherit aria-label="Tickers after these"'
            )
        self._grid = ui.element("div").classes("hr-grid")
        self._cards: list[_Card] = []
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _find(self, text: str | None) -> None:
        self._search, self._offset = (text or "").strip(), 0
        await self._refresh()

    async def _turn(self, by: int) -> None:
        if by < 0 or len(self._cards) == _PAGE:
            self._offset = max(self._offset + by, 0)
            await self._refresh()

    async def _refresh(self) -> None:
        reader = self._page.console.reader
        found = await self._page.ask(look, reader, self._search, self._offset)
        while len(self._cards) > len(found):
            self._cards.pop().delete()
        with self._grid:
            while len(self._cards) < len(found):
                self._cards.append(_Card(self._page))
        for card, one in zip(self._cards, found, strict=True):
            card.show(one)
        last = self._offset + len(found)
        self._where.set_text(f"{self._offset + 1} to {last}" if found else "no ticker yet")


class _Card:
    """One ticker; its height does not change with what it says."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._key: Any = None
        with ui.card().classes("hr-card").style("min-height: 236px") as self._card:
            with ui.row().classes("hr-row hr-between no-wrap"):
                self._name = ui.link("", "/markets").classes("text-bold text-lg")
                self._mean = ui.label("").classes("hr-chip")
            self._spark = ui.html("", sanitize=False).classes("w-full").style("height: 64px")
            self._facts = ui.label("").classes("hr-soft hr-small hr-num")
            self._last = ui.column().classes("w-full gap-1").style("min-height: 58px")

    def delete(self) -> None:
        self._card.delete()

    def show(self, one: _Snapshot) -> None:
        row = one.row
        key = (row["thread"], row["n"], row["last_ts"])
        if key == self._key:
            return
        self._key = key
        name = str(row["thread"])
        self._name.set_text(shown(name, 24))
        self._name.props["href"] = address(name)
        hour = (one.trend or {"windows": {}})["windows"].get("1h")
        mean = hour["mean"] if hour else (one.line[-1]["mean"] if one.line else 0.0)
        tone = "positive" if mean > 0.15 else "negative" if mean < -0.15 else "neutral"
        sign = {"positive": "▲", "negative": "▼", "neutral": "●"}[tone]
        self._mean.set_text(f"{sign} {mean:+.2f}")
        self._mean.classes(replace=f"hr-chip hr-{tone} hr-num")
        self._spark.set_content(spark(one.line, self._page.colours))
        momentum = f", momentum {hour['momentum']:+.2f}" if hour else ""
        self._facts.set_text(f"{row['n']:,} verdicts{momentum}")
        self._last.clear()
        with self._last:
            for result in one.last:
                with ui.row().classes("hr-headline no-wrap"):
                    chip(result["label"])
                    ui.label(shown(result["excerpt"], 120)).classes("hr-one-line hr-small")


def address(ticker: str) -> str:
    """The ticker's page; the name goes into the query, where any character may stand."""
    return f"/ticker?name={quote(ticker, safe='')}"
