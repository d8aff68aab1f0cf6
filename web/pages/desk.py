"""The label desk: one verdict at a time, least certain first, answered by the keyboard."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from nicegui import ui
from nicegui.events import KeyEventArguments

from web.console import Console
from web.pages.frame import Page, button, chip, heading, moment, section
from web.pages.verdict import labels_of
from web.queries import Row
from web.text import shown

_AHEAD: Final = 40
_REFRESH_S: Final = 2.0


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/labels", title="Label desk")
    async def labels(request: Request) -> None:
        page = Page(console, request, "Label desk")
        with page.body():
            heading(
                "Label desk",
                "The verdicts of which the model was least sure. Press 1, 2 or 3 to say what is "
                "right, s to skip, u to take the last one back.",
            )
            await _Desk(page).build()


class _Desk:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._queue: list[Row] = []
        self._skipped: set[tuple[int, int]] = set()
        self._done: list[str] = []
        self._busy = False

    async def build(self) -> None:
        with ui.element("div").classes("hr-two"):
            with ui.card().classes("hr-card").style("min-height: 300px"):
                self._place = ui.column().classes("w-full gap-4")
            with ui.card().classes("hr-card"):
                section("Progress")
                self._progress = ui.label("")
                self._bar = ui.linear_progress(value=0, show_value=False).props(
                    'aria-label="Labels until the next training"'
                )
                self._counts = ui.label("").classes("hr-soft hr-small")
                section("Newest labels")
                self._newest = ui.column().classes("w-full gap-2").style("min-height: 160px")
        ui.keyboard(on_key=self._key)
        await self._next()
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _next(self) -> None:
        if not self._queue:
            found = await self._page.ask(self._page.console.reader.uncertain, 4 * _AHEAD)
            self._queue = [one for one in found if _place(one) not in self._skipped][:_AHEAD]
        self._show()

    def _show(self) -> None:
        self._place.clear()
        with self._place:
            if not self._queue:
                ui.label("Nothing is left to label.").classes("hr-big")
                return
            row = self._queue[0]
            with ui.row().classes("hr-row"):
                ui.label(shown(row["target"] or row["thread"], 60)).classes("text-bold")
                chip(row["label"], row["confidence"])
                ui.label(f"{moment(row['at'])} UTC").classes("hr-soft hr-small")
            ui.label(shown(_text(row), 2_000)).classes("hr-big hr-text").style("min-height: 90px")
            with ui.row().classes("hr-row"):
                for number, label in enumerate(labels_of(row["task"]), start=1):

                    async def press(chosen: str = label) -> None:
                        await self._say(chosen)

                    button(f"{number} {label}", press, "hr-main-button")
                button("s skip", self._skip)
                button("u undo", self._undo)

    async def _key(self, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.action.repeat or event.modifiers.ctrl:
            return
        name = str(event.key.name)
        labels = labels_of(self._queue[0]["task"]) if self._queue else ()
        if name.isdecimal() and 1 <= int(name) <= len(labels):
            await self._say(labels[int(name) - 1])
        elif name == "s":
            await self._skip()
        elif name == "u":
            await self._undo()

    async def _say(self, label: str) -> None:
        if self._busy or not self._queue:
            return
        self._busy = True
        row = self._queue[0]
        try:
            made = await self._page.change(
                lambda: self._page.console.actions.label(
                    self._page.actor,
                    task=row["task"],
                    text=_text(row),
                    target=row["target"],
                    label=label,
                ),
                quiet=True,
            )
        finally:
            self._busy = False
        if made is not None:
            self._done.append(made.id)
            self._skipped.add(_place(row))
            self._queue.pop(0)
            await self._next()

    async def _skip(self) -> None:
        if self._queue:
            self._skipped.add(_place(self._queue.pop(0)))
            await self._next()

    async def _undo(self) -> None:
        if not self._done:
            ui.notify("nothing to take back", type="warning")
            return
        example = self._done.pop()
        await self._page.change(
            lambda: self._page.console.actions.withdraw_label(self._page.actor, example),
            "taken back",
        )

    async def _refresh(self) -> None:
        console = self._page.console
        waiting = console.gauges.labels_waiting()
        need = console.settings.train_after
        counts = await self._page.ask(console.reader.label_counts)
        if waiting is None:
            waiting = int(counts["labels"])
        self._progress.set_text(f"{waiting} of {need} new labels until the next training")
        self._bar.set_value(min(waiting / need, 1.0) if need else 1.0)
        self._counts.set_text(f"{counts['labels']:,} labels in all; {len(self._done)} made here")
        found = await self._page.ask(console.reader.labels, 6)
        if not self._queue:
            await self._next()
        self._newest.clear()
        with self._newest:
            for one in found:
                with ui.row().classes("hr-headline no-wrap"):
                    chip(one["label"])
                    ui.label(shown(one["text"], 120)).classes("hr-one-line hr-small")


def _text(row: Row) -> str:
    return str(row.get("text") or row["excerpt"])


def _place(row: Row) -> tuple[int, int]:
    return int(row["part"]), int(row["offset"])
