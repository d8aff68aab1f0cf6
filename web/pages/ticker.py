"""A ticker's page: its line over event time, its windows, its alerts and its headlines."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from web.console import Console
from web.pages import verdict as dialog
from web.pages.alerts import card as alert_card
from web.pages.frame import Page, chip, heading, moment, scrolling, section
from web.queries import Filters, Row
from web.text import shown

_POINTS: Final = 400
_REFRESH_S: Final = 3.0


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/ticker", title="Ticker")
    async def ticker(request: Request, name: str = "") -> None:
        page = Page(console, request, shown(name, 40) or "Ticker")
        with page.body():
            heading(shown(name, 60) or "No ticker", "Sentiment over event time, and what made it.")
            if name:
                ui.link("The whole thread", f"/threads?key={quote(name, safe='')}")
                await _Ticker(page, name).build()


class _Ticker:
    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._seen: Any = None

    async def build(self) -> None:
        with ui.card().classes("hr-card"):
            section("Sentiment and volume")
            self._chart = (
                ui.echart(options([], self._page.colours))
                .classes("w-full")
                .style("height: 300px")
                .props(f'role=img aria-label="Sentiment and volume of {quote(self._name)}"')
            )
        with ui.element("div").classes("hr-two"):
            with ui.card().classes("hr-card"):
                section("Headlines")
                self._headlines = ui.column().classes("w-full gap-2").style("min-height: 320px")
            with ui.column().classes("gap-4").style("min-width: 0"):
                with ui.card().classes("hr-card"):
                    section("Trend windows")
                    self._windows = ui.column().classes("w-full").style("min-height: 120px")
                with ui.card().classes("hr-card"):
                    section("Alerts")
                    self._alerts = ui.column().classes("w-full gap-3").style("min-height: 80px")
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _refresh(self) -> None:
        reader, ask = self._page.console.reader, self._page.ask
        verdicts = await ask(reader.verdicts, Filters(ticker=self._name), 12)
        alerts = await ask(reader.alerts, self._name, 20)
        trend = await ask(reader.trend, self._name)
        states = self._page.console.stream.alert_states
        seen = (
            [(one["part"], one["offset"]) for one in verdicts],
            [(one["id"], states.get(one["id"])) for one in alerts],
            None if trend is None else trend["ts"],
        )
        if seen == self._seen:
            return
        self._seen = seen
        line = await ask(reader.line, self._name, _POINTS)
        self._chart.options.clear()
        self._chart.options.update(options(line, self._page.colours))
        self._chart.update()
        self._show_windows(trend)
        self._headlines.clear()
        with self._headlines:
            for one in verdicts:
                self._headline(one)
            if not verdicts:
                ui.label("no verdict yet").classes("hr-soft")
        self._alerts.clear()
        with self._alerts:
            for alert in alerts:
                alert_card(self._page, alert)
            if not alerts:
                ui.label("none").classes("hr-soft")

    def _headline(self, one: Row) -> None:
        async def why() -> None:
            await dialog.show(self._page, one["part"], one["offset"])

        with ui.row().classes("hr-row no-wrap"), ui.column().classes("gap-1 hr-text"):
            ui.label(shown(one["excerpt"], 280)).classes("hr-text")
            with ui.row().classes("hr-row"):
                chip(one["label"], one["confidence"])
                ui.label(f"{moment(one['at'])} {shown(one['source'] or '', 30)}").classes(
                    "hr-soft hr-small"
                )
                ui.button("Why?", on_click=why).props("flat dense no-caps color=inherit").classes(
                    "hr-small"
                )

    def _show_windows(self, trend: Row | None) -> None:
        self._windows.clear()
        with self._windows:
            if trend is None:
                ui.label("no trend yet").classes("hr-soft")
                return
            rows = [
                {
                    "window": name,
                    "count": one["count"],
                    "mean": f"{one['mean']:+.2f}",
                    "momentum": f"{one['momentum']:+.2f}",
                    "split": f"{one['positive']} / {one['neutral']} / {one['negative']}",
                }
                for name, one in trend["windows"].items()
            ]
            with scrolling("Trend windows"):
                ui.table(
                    columns=[
                        {"name": name, "label": label, "field": name, "align": "left"}
                        for name, label in (
                            ("window", "window"),
                            ("count", "results"),
                            ("mean", "mean"),
                            ("momentum", "momentum"),
                            ("split", "▲ / ● / ▼"),
                        )
                    ],
                    rows=rows,
                    row_key="window",
                ).props("flat dense hide-bottom").classes("w-full")
            ui.label(f"as of {moment(trend['at'])} UTC").classes("hr-soft hr-small")


def options(line: list[Row], colours: dict[str, str]) -> dict[str, Any]:
    """The chart: the mean as a line above stacked volume bars, over event time."""
    axis = {
        "axisLabel": {"color": colours["soft"]},
        "axisLine": {"lineStyle": {"color": colours["line"]}},
        "splitLine": {"lineStyle": {"color": colours["line"]}},
    }
    bars = [
        {
            "name": label,
            "type": "bar",
            "stack": "volume",
            "xAxisIndex": 1,
            "yAxisIndex": 1,
            "itemStyle": {"color": colours[label]},
            "barMaxWidth": 14,
            "data": [[one["bucket"], one[label]] for one in line],
        }
        for label in ("negative", "neutral", "positive")
    ]
    return {
        "animation": False,
        "textStyle": {"color": colours["ink"]},
        "tooltip": {"trigger": "axis", "renderMode": "richText"},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "legend": {"textStyle": {"color": colours["ink"]}, "top": 0},
        "grid": [
            {"left": 48, "right": 16, "top": 34, "height": "52%"},
            {"left": 48, "right": 16, "bottom": 26, "height": "20%"},
        ],
        "xAxis": [
            {"type": "time", "gridIndex": 0, **axis, "axisLabel": {"show": False}},
            {"type": "time", "gridIndex": 1, **axis},
        ],
        "yAxis": [
            {"type": "value", "min": -1, "max": 1, "gridIndex": 0, **axis},
            {"type": "value", "gridIndex": 1, "minInterval": 1, **axis},
        ],
        "series": [
            {
                "name": "sentiment",
                "type": "line",
                "showSymbol": len(line) < 80,
                "symbolSize": 5,
                "lineStyle": {"width": 2},
                "itemStyle": {"color": colours["water"]},
                "data": [[one["bucket"], round(one["mean"], 4)] for one in line],
            },
            *bars,
        ],
    }
