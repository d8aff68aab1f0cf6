"""Threads: everything that ever happened to one key, in order."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from streams import reading
from web.console import Console
from web.pages.frame import Page, button, duration, heading, moment, scrolling
from web.queries import Row
from web.text import shown, visible
from web.thread import life

_ROWS: Final = 300


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/threads", title="Threads")
    async def threads(request: Request, key: str = "") -> None:
        page = Page(console, request, "Threads")
        with page.body():
            heading(
                "Threads",
                "All that carries one key: event, request, result, trend, alert, label and dead "
                "letter, each with its place and the time it took.",
            )
            with ui.row().classes("hr-row"):
                field = ui.input("Key: a ticker, a source, a request's thread", value=key)
                field.props("outlined dense").style("width: min(420px, 70vw)")

                def go() -> None:
                    ui.navigate.to(f"/threads?key={quote(field.value or '', safe='')}")

                field.on("keydown.enter", go)
                button("Show", go, "hr-main-button")
            with ui.card().classes("hr-card"):
                await _show(page, key)


async def _show(page: Page, key: str) -> None:
    if not key:
        ui.label("Name a key above.").classes("hr-soft")
        return
    lines = life(await page.ask(page.console.reader.thread, key, _ROWS))
    if not lines:
        ui.label(f"Nothing carries the key {shown(key, 60)}.").classes("hr-soft")
        return
    ui.label(f"{len(lines)} records, the newest last").classes("hr-soft hr-small")
    with scrolling("Records of the thread"):
        table = ui.table(
            columns=[
                {"name": name, "label": label, "field": name, "align": "left", "classes": classes}
                for name, label, classes in (
                    ("time", "time (UTC)", "hr-num"),
                    ("kind", "what", ""),
                    ("says", "says", "hr-cell-text"),
                    ("hop", "took", "hr-num"),
                    ("place", "place", "hr-mono"),
                )
            ],
            rows=[_row(number, one) for number, one in enumerate(lines)],
            row_key="number",
            pagination={"rowsPerPage": 50, "page": -(-len(lines) // 50)},
        )
        table.props("flat dense").classes("w-full")

    async def raw(event: object) -> None:
        args = getattr(event, "args", [])
        one = lines[int(args[1]["number"])]
        await _raw(page, one)

    table.on("rowClick", raw)


def _row(number: int, one: Row) -> Row:
    return {
        "number": number,
        "time": moment(one["ts"]),
        "kind": one["kind"],
        "says": shown(f"{one['version']} {one['says']}" if one["version"] else one["says"], 260),
        "hop": duration(one["hop_ms"]),
        "place": f"{one['topic']}/{one['part']}@{one['offset']}",
    }


async def _raw(page: Page, one: Row) -> None:
    """The record as its topic has it."""
    place = (one["topic"], one["part"], one["offset"])
    found = await page.change(lambda: reading.at(page.console.settings, [place]), quiet=True)
    with ui.dialog(value=True) as dialog, ui.card().classes("hr-card").style("max-width: 760px"):
        dialog.on("hide", dialog.delete)
        ui.label(f"{one['topic']}/{one['part']}@{one['offset']}").classes("hr-mono text-bold")
        if isinstance(found, list) and found:
            text = json.dumps(reading.as_line(found[0]), indent=2)
        else:
            text = "The topic no longer keeps this record."
        pre(text)
        button("Close", dialog.close)


def pre(text: str, *, wrap: bool = True) -> None:
    """Lines as they are, each made safe to look at."""
    ui.label("\n".join(visible(line) for line in text.split("\n"))).classes(
        "hr-pre hr-wrap" if wrap else "hr-pre"
    ).props("tabindex=0")
