"""Models: which version answers, how good it is, and what is being trained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from nicegui import ui

from schemas.events import ModelVersion
from trainer import runs
from web.console import Console
from web.pages.frame import Page, button, heading, scrolling, section
from web.pages.threads import pre
from web.queries import Row
from web.text import shown

_REFRESH_S: Final = 2.0
_METRICS: Final = ("accuracy", "macro_f1", "ece")
_STATE: Final = {"live": "hr-positive", "refused": "hr-negative", "canary": "hr-live"}


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/models", title="Models")
    async def models(request: Request) -> None:
        page = Page(console, request, "Models")
        with page.body():
            heading(
                "Models",
                "Each version that answered or tried to. Labels teach the next one; the gate lets "
                "it live only where it is no worse.",
            )
            await _Models(page).build()


class _Models:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._seen: Any = None
        self._compared: list[Row] = []

    async def build(self) -> None:
        with ui.element("div").classes("hr-two"):
            with ui.card().classes("hr-card"):
                section("Quality by version")
                self._quality = (
                    ui.echart(_quality([], self._page.colours))
                    .classes("w-full")
                    .style("height: 240px")
                    .props('role=img aria-label="Accuracy and macro F1 by version"')
                )
            with ui.card().classes("hr-card"):
                section("Training")
                self._phase = ui.label("no run yet")
                self._bar = ui.linear_progress(value=0, show_value=False).props(
                    'aria-label="Share of the training that is done"'
                )
                self._loss = (
                    ui.echart(_loss([], self._page.colours))
                    .classes("w-full")
                    .style("height: 170px")
                    .props('role=img aria-label="Loss by step"')
                )
        self._trials = ui.column().classes("w-full gap-4")
        self._versions = ui.column().classes("w-full gap-4")
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _refresh(self) -> None:
        gauges = self._page.console.gauges
        status = gauges.training
        if status is not None:
            left = "" if status.eta_s is None else f", {status.eta_s:.0f} s left"
            step = f" step {status.step} of {status.of}" if status.of else ""
            self._phase.set_text(
                shown(f"{status.version}: {status.phase}{step}{left} {status.message}", 200)
            )
            self._bar.set_value(status.step / status.of if status.of else 0)
        self._show_trials()
        versions = list(self._page.console.stream.registry.versions.values())[::-1]
        seen = ([(one.version, one.state) for one in versions], len(gauges.losses))
        if seen == self._seen:
            return
        self._seen = seen
        _replace(self._loss, _loss(list(gauges.losses), self._page.colours))
        _replace(self._quality, _quality(versions[::-1], self._page.colours))
        reports = await asyncio.to_thread(
            lambda: {one.version: report(self._page.console, one.version) for one in versions}
        )
        self._versions.clear()
        with self._versions:
            for one in versions:
                with ui.card().classes("hr-card"):
                    self._card(one, reports[one.version])
            if not versions:
                ui.label("No version yet: the first training makes one.").classes("hr-soft")

    def _show_trials(self) -> None:
        found = [one.row() for one in self._page.console.stream.trials.found.values()]
        if found == self._compared:
            return
        self._compared = found
        self._trials.clear()
        with self._trials:
            for one in found:
                with ui.card().classes("hr-card"):
                    _trial(one)

    def _card(self, one: ModelVersion, found: Row | None) -> None:
        with ui.row().classes("hr-row hr-between"):
            ui.label(shown(f"{one.task} {one.version}", 80)).classes("text-bold")
            ui.label(one.state).classes(f"hr-chip {_STATE.get(one.state, '')}")
        ui.label(shown(f"{one.changed_at:%Y-%m-%d %H:%M:%S} UTC. {one.reason}", 300)).classes(
            "hr-soft hr-small"
        )
        with ui.row().classes("hr-row hr-small"):
            for name, value in one.metrics.items():
                bounds = (found or {}).get(f"{name}_interval")
                span = f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
                ui.label(f"{shown(name, 40)} {value:.3f}{span}").classes("hr-num")
        if found is not None:
            _confusion(found["confusion"], one.labels)
        card = model_card(one)
        if card:
            with ui.expansion("Model card").classes("w-full"):
                pre(card)
        with ui.row().classes("hr-row"):
            if one.state == "live":
                button("Roll back", lambda: self._sure(one, "roll_back"))
            elif one.state != "refused":
                button("Promote", lambda: self._sure(one, "promote"))

    def _sure(self, one: ModelVersion, what: str) -> None:
        """Ask for the reason, then do it."""
        title = f"Promote {one.version}" if what == "promote" else f"Roll back from {one.version}"
        with ui.dialog(value=True) as dialog, ui.card().classes("hr-card").style("max-width:480px"):
            dialog.on("hide", dialog.delete)
            section(shown(title, 80))
            ui.label("The kernels swap without stopping. The reason is kept with the version.")
            reason = ui.input("Reason").props("outlined dense").classes("w-full")

            async def go() -> None:
                words = (reason.value or "").strip()
                if not words:
                    ui.notify("say why", type="warning")
                    return
                actions, actor = self._page.console.actions, self._page.actor
                dialog.close()
                if what == "promote":
                    await self._page.change(
                        lambda: actions.promote(actor, one.task, one.version, words), "promoted"
                    )
                else:
                    await self._page.change(
                        lambda: actions.roll_back(actor, one.task, words), "rolled back"
                    )

            with ui.row().classes("hr-row"):
                button(title, go, "hr-main-button")
                button("Leave it", dialog.close)


def report(console: Console, version: str) -> Row | None:
    """What the training run left about a version: intervals and confusion; None: another machine.

    The name comes from a topic, so it is looked up among the folders, never made into a path.
    """
    folder = runs.folder(console.settings.data)
    try:
        found = next((one for one in folder.iterdir() if one.name == version), None)
    except OSError:
        return None
    outcome = None if found is None else runs.outcome(found)
    if outcome is None or outcome.report is None:
        return None
    made = outcome.report
    return {
        "accuracy_interval": made.accuracy_interval,
        "macro_f1_interval": made.macro_f1_interval,
        "confusion": made.confusion,
    }


def model_card(version: ModelVersion) -> str:
    """The model card where the artefact lies on this machine; empty elsewhere."""
    path = Path(version.artefact) / "card.md"
    try:
        return path.read_text(encoding="utf-8")[:20_000] if path.is_file() else ""
    except OSError:
        return ""


def _trial(one: Row) -> None:
    """A version on trial: how its answers differ from the live version's."""
    share = f" at {one['share']:.0%} of the threads" if one["state"] == "canary" else ""
    section(shown(f"On trial: {one['task']} {one['version']}, {one['state']}{share}", 120))
    ui.label(f"{one['says']}. Compared since {one['since'][11:19]} UTC.").classes("hr-small")
    names = sorted(one["labels"].keys() | one["live_labels"].keys())
    _rows(
        "Labels of both versions",
        {"label": "label", "live": "live version", "trial": "on trial"},
        [
            {
                "label": shown(name, 40),
                "live": one["live_labels"].get(name, 0),
                "trial": one["labels"].get(name, 0),
            }
            for name in names
        ],
    )
    _rows(
        "Newest differences",
        {"live": "live version", "trial": "on trial", "text": "text"},
        [
            {
                "live": shown(found["live_label"], 40),
                "trial": shown(found["error"] or found["label"], 80),
                "text": shown(f"{found['thread']}: {found['excerpt']}", 160),
            }
            for found in one["differences"][:8]
        ],
    )


def _rows(title: str, names: dict[str, str], rows: list[Row]) -> None:
    if not rows:
        return
    columns = [
        {"name": name, "label": label, "field": name, "align": "left"}
        for name, label in names.items()
    ]
    numbered = [{"key": number} | row for number, row in enumerate(rows)]
    with scrolling(title):
        ui.table(columns=columns, rows=numbered, row_key="key").props("flat dense hide-bottom")


def _confusion(confusion: list[list[int]], labels: list[str]) -> None:
    columns = [{"name": "right", "label": "right ↓  said →", "field": "right", "align": "left"}]
    columns += [{"name": one, "label": one, "field": one, "align": "right"} for one in labels]
    rows = [
        {"right": right} | dict(zip(labels, counts, strict=False))
        for right, counts in zip(labels, confusion, strict=False)
    ]
    with scrolling("Confusion"):
        ui.table(columns=columns, rows=rows, row_key="right").props("flat dense hide-bottom")


def _replace(chart: ui.echart, made: dict[str, Any]) -> None:
    chart.options.clear()
    chart.options.update(made)
    chart.update()


def _axes(colours: dict[str, str]) -> dict[str, Any]:
    return {
        "axisLabel": {"color": colours["soft"]},
        "axisLine": {"lineStyle": {"color": colours["line"]}},
        "splitLine": {"lineStyle": {"color": colours["line"]}},
    }


def _quality(versions: list[ModelVersion], colours: dict[str, str]) -> dict[str, Any]:
    names = [name for name in _METRICS if any(name in one.metrics for one in versions)]
    shades = (colours["water"], colours["positive"], colours["neutral"])
    return {
        "animation": False,
        "tooltip": {"trigger": "axis", "renderMode": "richText"},
        "legend": {"textStyle": {"color": colours["ink"]}, "top": 0},
        "grid": {"left": 44, "right": 12, "top": 34, "bottom": 28},
        "xAxis": {
            "type": "category",
            "data": [shown(one.version, 20) for one in versions],
            **_axes(colours),
        },
        "yAxis": {"type": "value", "min": 0, "max": 1, **_axes(colours)},
        "series": [
            {
                "name": name,
                "type": "bar",
                "barMaxWidth": 26,
                "itemStyle": {"color": shade},
                "data": [one.metrics.get(name) for one in versions],
            }
            for name, shade in zip(names, shades, strict=False)
        ],
    }


def _loss(losses: list[tuple[int, float]], colours: dict[str, str]) -> dict[str, Any]:
    return {
        "animation": False,
        "tooltip": {"trigger": "axis", "renderMode": "richText"},
        "grid": {"left": 44, "right": 12, "top": 12, "bottom": 26},
        "xAxis": {"type": "value", "name": "", "min": 0, **_axes(colours)},
        "yAxis": {"type": "value", "scale": True, **_axes(colours)},
        "series": [
            {
                "type": "line",
                "showSymbol": False,
                "itemStyle": {"color": colours["water"]},
                "data": [list(one) for one in losses],
            }
        ],
    }
