"""One verdict in a dialog: the whole text, the scores, why, and a correction."""

from __future__ import annotations

import json

from nicegui import ui

from schemas.tasks import TASKS
from web.pages.frame import Page, button, chip, moment, section
from web.queries import Row
from web.text import shown
from web.verdicts import Moved


def labels_of(task: str) -> tuple[str, ...]:
    """The labels of a task; none where the task is not one of ours."""
    return TASKS[task].labels if task in TASKS else ()


async def show(page: Page, part: int, offset: int) -> None:
    """Open the dialog for the result at this place."""
    row = await page.ask(page.console.reader.result, part, offset)
    if row is None:
        ui.notify("this verdict is no longer in the index", type="warning")
        return
    with ui.dialog(value=True) as dialog, ui.card().classes("hr-card").style("max-width: 720px"):
        dialog.on("hide", dialog.delete)
        body(page, row)
        with ui.row().classes("hr-row hr-between"):
            ui.link("The whole thread", f"/threads?key={row['thread']}")
            button("Close", dialog.close)


def body(page: Page, row: Row) -> None:
    """Text, scores, explanation and correction of one result."""
    text = str(row.get("text") or row["excerpt"])
    with ui.row().classes("hr-row"):
        ui.label(shown(row["thread"], 60)).classes("text-bold")
        chip(row["label"], row["confidence"])
        ui.label(f"{moment(row['at'])} UTC").classes("hr-soft hr-small")
    ui.label(shown(text, 3_000)).classes("hr-text hr-big")
    scores = json.loads(row["scores"])
    with ui.row().classes("hr-row hr-small hr-soft"):
        for name, score in scores.items():
            ui.label(f"{shown(name, 40)} {score:.3f}").classes("hr-num")
        ui.label(f"version {shown(row['version'], 60)}")
        ui.label(f"result {row['part']}/{row['offset']}")
        if row.get("source"):
            ui.label(f"source {shown(row['source'], 40)}")
    _why(page, row, text)
    _correct(page, row, text)


def _why(page: Page, row: Row, text: str) -> None:
    section("Why")
    place = ui.row().classes("hr-row").style("min-height: 40px; gap: 2px")

    async def explain() -> None:
        place.clear()
        with place:
            ui.spinner(size="sm")
            ui.label("leaving each word out and asking again").classes("hr-soft hr-small")
        moved = await page.change(
            lambda: page.console.verdicts.why(
                page.actor, text, task=row["task"], target=row["target"], label=row["label"]
            ),
            quiet=True,
        )
        place.clear()
        with place:
            if moved is None:
                button("Try again", explain)
                return
            words(moved, row["label"])

    with place:
        button("Which words moved the score?", explain)


def words(moved: list[Moved], label: str) -> None:
    """The words, tinted by what they did; the strongest with their figure."""
    most = max((abs(one.weight) for one in moved), default=0.0) or 1.0
    strongest = sorted(moved, key=lambda one: -abs(one.weight))[:3]
    for one in moved:
        share = abs(one.weight) / most
        tone = "--good-soft" if one.weight > 0 else "--bad-soft"
        tint = f"background: color-mix(in srgb, var({tone}) {share:.0%}, transparent)"
        text = shown(one.word, 60)
        if one in strongest and share > 0.05:
            text = f"{text} ({one.weight:+.2f})"
        ui.label(text).classes("hr-word").style(tint)
    ui.label(
        f"Green spoke for “{shown(label, 40)}”, red against it: the change of its score when the "
        "word is left out."
    ).classes("hr-soft hr-small w-full")


def _correct(page: Page, row: Row, text: str) -> None:
    labels = labels_of(row["task"])
    if not labels:
        return
    section("Is it right?")
    with ui.row().classes("hr-row"):
        for label in labels:

            async def say(chosen: str = label) -> None:
                await page.change(
                    lambda: page.console.actions.label(
                        page.actor,
                        task=row["task"],
                        text=text,
                        target=row["target"],
                        label=chosen,
                    ),
                    f"labelled {chosen}: the next training learns from it",
                )

            button(f"It is {label}", say)
