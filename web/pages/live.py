"""The live page: the pipeline as it runs, and the verdicts as they come."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import Request
from nicegui import ui
from nicegui.events import GenericEventArguments

from schemas.topics import CATALOGUE
from web.console import Console
from web.live import Verdict
from web.pages import verdict as dialog
from web.pages.frame import Page, clock, duration, heading, section, word
from web.pages.map import WHEELS, Reading, drawing, slug, values, wheel
from web.queries import Filters, Row
from web.text import shown

_ROWS: Final = 100
_REFRESH_S: Final = 0.5
_COLUMNS: Final = [
    {"headerName": "time", "field": "time", "width": 90, "cellClass": "hr-num"},
    {"headerName": "ticker", "field": "ticker", "width": 105},
    {
        "headerName": "verdict",
        "field": "label",
        "width": 115,
        "cellClassRules": {
            "hr-cell-positive": "x.includes('positive')",
            "hr-cell-negative": "x.includes('negative')",
        },
    },
    {"headerName": "sure", "field": "confidence", "width": 75, "cellClass": "hr-num"},
    {"headerName": "text", "field": "text", "flex": 1, "minWidth": 260},
    {"headerName": "source", "field": "source", "width": 105},
    {"headerName": "took", "field": "took", "width": 90, "cellClass": "hr-num"},
]


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/", title="Live")
    async def live(request: Request) -> None:
        page = Page(console, request, "Live")
        with page.body():
            heading("Live", "Texts flow in on the left; verdicts, trends and alerts come out.")
            with ui.card().classes("hr-card"):
                ui.html(drawing(), sanitize=False).classes("hr-map w-full")
            with ui.card().classes("hr-card"):
                await _Verdicts(page).build()
        page.every(1.0, lambda: _fill(console))


def _fill(console: Console) -> None:
    rates, gauges = console.live.rates(), console.gauges
    readings = {
        name: Reading(rate=rates.get(name, 0.0), oldest_s=gauges.oldest_s.get(name))
        for name in CATALOGUE
    }
    for service in WHEELS:
        readings[wheel(service)] = Reading(lag=gauges.lag_of(service.name))
    turning = {
        slug(wheel(service)): any(rates.get(topic.name, 0) > 0 for topic in service.reads)
        for service in WHEELS
    }
    ui.run_javascript(
        f"headrace.fill({json.dumps(values(readings))}); headrace.turn({json.dumps(turning)})"
    )


class _Verdicts:
    """The filtered stream of one page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._live = page.console.live
        self._rows: list[Row] = []
        self._number = self._live.number
        self._ticker = self._source = self._label = ""
        self._sure = 0.0
        self._grid: ui.aggrid | None = None

    async def build(self) -> None:
        with ui.row().classes("hr-row hr-between"):
            section("Verdicts")
            self._note = ui.label("").classes("hr-soft hr-small").props("role=status")
        sources = await self._page.ask(self._page.console.reader.sources)
        with ui.row().classes("hr-row"):
            ui.input("Ticker", on_change=lambda e: self._filter(ticker=e.value)).props(
                "outlined dense clearable debounce=300"
            ).style("width: 130px")
            ui.select(
                ["", *sources],
                label="Source",
                value="",
                on_change=lambda e: self._filter(source=e.value),
            ).props("outlined dense options-dense").style("width: 150px")
            ui.select(
                ["", "positive", "neutral", "negative"],
                label="Verdict",
                value="",
                on_change=lambda e: self._filter(label=e.value),
            ).props("outlined dense options-dense").style("width: 140px")
            ui.number(
                "At least this sure",
                value=0,
                min=0,
                max=1,
                step=0.05,
                on_change=lambda e: self._filter(sure=e.value),
            ).props("outlined dense debounce=300").style("width: 150px")
        self._grid = (
            ui.aggrid(
                {
                    "columnDefs": _COLUMNS,
                    "rowData": [],
                    "rowHeight": 34,
                    "headerHeight": 36,
                    "suppressCellFocus": False,
                    "animateRows": False,
                    "defaultColDef": {"sortable": False, "resizable": True},
                    ":getRowId": "(given) => given.data.key",
                    "overlayNoRowsTemplate": "No verdict passes the filters yet",
                }
            )
            .classes("hr-stream")
            .on("cellClicked", self._open, ["data"])
            .on("cellKeyDown", self._open_by_key, ["data", "event.key"])
        )
        await self._history()
        self._page.every(_REFRESH_S, self._refresh)

    async def _filter(self, **chosen: Any) -> None:
        self._ticker = str(chosen.get("ticker", self._ticker) or "").strip()
        self._source = str(chosen.get("source", self._source) or "")
        self._label = str(chosen.get("label", self._label) or "")
        sure = chosen.get("sure", self._sure)
        self._sure = min(max(float(sure or 0), 0.0), 1.0)
        await self._history()

    async def _history(self) -> None:
        """What the index has, so that a page is never empty at first."""
        self._number = self._live.number
        chosen = Filters(
            ticker=self._ticker, source=self._source, label=self._label, confidence=self._sure
        )
        found = await self._page.ask(self._page.console.reader.verdicts, chosen, _ROWS)
        self._rows = [
            _row(
                one["part"],
                one["offset"],
                one["ts"],
                one["thread"],
                one["label"],
                one["confidence"],
                one["excerpt"],
                one["source"] or "",
                None if one["event_ts"] is None else one["ts"] - one["event_ts"],
            )
            for one in found
        ]
        self._show()

    def _passes(self, one: Verdict) -> bool:
        return (
            (not self._ticker or one.ticker == self._ticker)
            and (not self._source or one.source == self._source)
            and (not self._label or one.label == self._label)
            and one.confidence >= self._sure
        )

    def _refresh(self) -> None:
        sampling = self._live.sampling()
        if sampling != self._note.text:
            self._note.set_text(sampling)
        if self._live.number == self._number:
            return
        fresh = [
            one for one in self._live.verdicts if one.number > self._number and self._passes(one)
        ]
        self._number = self._live.number
        if not fresh:
            return
        new = [
            _row(
                one.part,
                one.offset,
                one.ts,
                one.ticker,
                one.label,
                one.confidence,
                one.excerpt,
                one.source,
                one.latency_ms,
            )
            for one in reversed(fresh)
        ]
        gone = self._rows[_ROWS - len(new) :] if len(new) < _ROWS else self._rows
        kept = [{"key": one["key"]} for one in gone]
        self._rows = [*new, *self._rows][:_ROWS]
        if self._grid is not None:
            self._grid.run_grid_method(
                "applyTransaction", {"add": new[:_ROWS], "addIndex": 0, "remove": kept}
            )

    def _show(self) -> None:
        if self._grid is not None:
            self._grid.options["rowData"] = self._rows
            self._grid.run_grid_method("setGridOption", "rowData", self._rows)

    async def _open(self, event: GenericEventArguments) -> None:
        part, offset = str(event.args["data"]["key"]).split("/")
        await dialog.show(self._page, int(part), int(offset))

    async def _open_by_key(self, event: GenericEventArguments) -> None:
        if event.args.get("event", {}).get("key") == "Enter":
            await self._open(event)


def _row(
    part: int,
    offset: int,
    ts: int,
    ticker: str,
    label: str,
    confidence: float,
    excerpt: str,
    source: str,
    took: float | None,
) -> Row:
    return {
        "key": f"{part}/{offset}",
        "time": clock(ts),
        "ticker": shown(ticker, 40),
        "label": word(label),
        "confidence": f"{confidence:.2f}",
        "text": shown(excerpt, 200),
        "source": shown(source, 40),
        "took": duration(took),
    }
