"""Alerts: bursts of bad news, each with the headlines behind it and what a person decided."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import Request
from nicegui import ui

from schemas.events import AlertState
from web.actions import AlertWord
from web.console import Console
from web.pages.frame import Page, button, heading, moment
from web.queries import Row
from web.text import shown

_REFRESH_S: Final = 1.0
_SHOWN: Final = 40
_MUTE: Final = timedelta(hours=8)


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/alerts", title="Alerts")
    async def alerts(request: Request) -> None:
        page = Page(console, request, "Alerts")
        with page.body():
            heading(
                "Alerts",
                "A burst of negative verdicts about one ticker, against its own baseline. "
                "Acknowledge what you have seen; mute what you need not see.",
            )
            await _Alerts(page).build()


class _Alerts:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._which = "open"
        self._seen: Any = None

    async def build(self) -> None:
        ui.toggle(
            {"open": "Open", "all": "All"}, value="open", on_change=lambda e: self._choose(e.value)
        ).props("no-caps unelevated toggle-color=primary")
        self._place = ui.element("div").classes("hr-grid")
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _choose(self, which: str) -> None:
        self._which, self._seen = which, None
        await self._refresh()

    async def _refresh(self) -> None:
        states = self._page.console.stream.alert_states
        found = await self._page.ask(self._page.console.reader.alerts, "", 200)
        if self._which == "open":
            found = [one for one in found if decision(states, one) is None]
        found = found[:_SHOWN]
        told = self._page.console.stream.deliveries
        seen = [(one["id"], decision(states, one), told.get(one["id"])) for one in found]
        if seen == self._seen:
            return
        self._seen = seen
        self._place.clear()
        with self._place:
            for one in found:
                with ui.card().classes("hr-card"):
                    card(self._page, one)
            if not found:
                ui.label("No alert is open." if self._which == "open" else "No alert yet.")


def decision(states: dict[str, AlertState], alert: Row) -> AlertState | None:
    """What holds for an alert: its own state, or the mute of its ticker; None: it is open."""
    now = datetime.now(UTC)
    for key in (str(alert["id"]), f"ticker:{alert['ticker']}"):
        found = states.get(key)
        if found is not None and found.state != "open" and (not found.until or found.until > now):
            return found
    return None


def card(page: Page, alert: Row) -> None:
    """One alert with its headlines and what can be done about it."""
    held = decision(page.console.stream.alert_states, alert)
    with ui.row().classes("hr-row hr-between"):
        ui.label(shown(alert["ticker"], 40)).classes("text-bold")
        raised = datetime.fromisoformat(str(alert["raised_at"]))
        ui.label(f"{moment(round(raised.timestamp() * 1000))} UTC").classes("hr-soft hr-small")
        word = held.state if held else "open"
        ui.label(word).classes("hr-chip " + ("" if held else "hr-negative"))
    minutes = alert["window_s"] / 60
    ui.label(
        f"{alert['count']} verdicts in {minutes:.0f} minutes, mean {alert['mean']:+.2f}; before: "
        f"{alert['baseline_mean']:+.2f} over {alert['baseline_count']}"
    ).classes("hr-small")
    with ui.column().classes("gap-1 w-full"):
        for headline in alert["headlines"][:6]:
            with ui.row().classes("hr-headline no-wrap"):
                ui.label(f"{headline['score']:+.2f}").classes("hr-num hr-small hr-soft")
                ui.label(shown(headline["text"], 280)).classes("hr-text hr-small")
    if held:
        ends = "" if held.until is None else f" until {held.until:%Y-%m-%d %H:%M} UTC"
        ui.label(f"{held.state} by {shown(held.by, 40)}{ends}").classes("hr-soft hr-small")
    told = page.console.stream.deliveries.get(str(alert["id"]), {})
    if told:
        said = (f"{one.target} {one.state} ({one.detail or 'soon'})" for one in told.values())
        ui.label(f"Told: {shown('; '.join(said), 280)}").classes("hr-soft hr-small")

    def decide(key: str, word: AlertWord, until: datetime | None = None) -> Any:
        async def press() -> None:
            await page.change(
                lambda: page.console.actions.set_alert(page.actor, key, word, until=until),
                f"{word}",
            )

        return press

    with ui.row().classes("hr-row"):
        if held is None:
            button("Acknowledge", decide(str(alert["id"]), "acknowledged"))
            until = datetime.fromtimestamp(time.time(), UTC) + _MUTE
            button("Mute the ticker for 8 h", decide(f"ticker:{alert['ticker']}", "muted", until))
        else:
            button("Open again", decide(held.id, "open"))
