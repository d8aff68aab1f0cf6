"""Dead letters: what could not be answered, byte for byte, and another try."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from nicegui import ui

from schemas.events import DeadLetter
from web.console import Console
from web.pages.frame import Page, button, heading, moment, section
from web.pages.threads import pre
from web.queries import Row
from web.text import hex_dump, shown

_REFRESH_S: Final = 2.0
_SHOWN: Final = 100


def register(console: Console) -> None:
    """Make the page known."""

    @ui.page("/dead-letters", title="Dead letters")
    async def dead(request: Request) -> None:
        page = Page(console, request, "Dead letters")
        with page.body():
            heading(
                "Dead letters",
                "Records that could not be answered, kept byte for byte. A replay puts the "
                "original back once; a copy may be mended first.",
            )
            await _Letters(page).build()


class _Letters:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._class = ""
        self._seen: Any = None

    async def build(self) -> None:
        self._groups = ui.row().classes("hr-row").style("min-height: 40px")
        with ui.element("div").classes("hr-two"):
            with ui.card().classes("hr-card"):
                self._rows = ui.column().classes("w-full gap-2").style("min-height: 300px")
            with ui.card().classes("hr-card"):
                self._detail = ui.column().classes("w-full gap-3").style("min-height: 300px")
                with self._detail:
                    ui.label("Choose a dead letter on the left.").classes("hr-soft")
        await self._refresh()
        self._page.every(_REFRESH_S, self._refresh)

    async def _choose(self, error_class: str) -> None:
        self._class, self._seen = error_class, None
        await self._refresh()

    async def _refresh(self) -> None:
        reader = self._page.console.reader
        groups = await self._page.ask(reader.dead_groups)
        found = await self._page.ask(reader.dead, self._class, _SHOWN)
        seen = (self._class, groups, [one["id"] for one in found])
        if seen == self._seen:
            return
        self._seen = seen
        self._groups.clear()
        with self._groups:
            total = sum(one["n"] for one in groups)
            for name, count in [("", total), *((one["error_class"], one["n"]) for one in groups)]:

                async def press(chosen: str = name) -> None:
                    await self._choose(chosen)

                kind = "hr-main-button" if name == self._class else "hr-button"
                button(f"{shown(name, 40) or 'all'} · {count:,}", press, kind)
            if self._class and found:
                button("Replay all of this class", self._replay_class)
        self._rows.clear()
        with self._rows:
            for one in found:
                self._row(one)
            if not found:
                ui.label("None: every event was answered.").classes("hr-soft")

    def _row(self, one: Row) -> None:
        async def open_it() -> None:
            await self._open(one)

        with ui.row().classes("hr-row hr-between no-wrap"):
            with ui.column().classes("gap-0 hr-text"):
                ui.label(shown(one["reason"], 200)).classes("hr-text")
                ui.label(
                    f"{one['error_class']} · {one['source_topic']}/{one['source_part']}"
                    f"@{one['source_offset']} · {moment(one['ts'])} UTC"
                ).classes("hr-soft hr-small hr-text")
            ui.button("Look", on_click=open_it).props(
                f'flat dense no-caps color=inherit aria-label="Look at {shown(one["id"], 80)}"'
            ).classes("hr-small")
        ui.separator()

    async def _open(self, one: Row) -> None:
        letter = await self._page.change(
            lambda: self._page.console.actions.letter(one["id"]), quiet=True
        )
        if isinstance(letter, DeadLetter):
            self._detail.clear()
            with self._detail:
                self._show(letter, one)

    def _show(self, letter: DeadLetter, row: Row) -> None:
        source = letter.source
        value = source.value or b""
        section(shown(letter.error_class, 60))
        ui.label(shown(letter.reason, 1_000)).classes("hr-text")
        versions = ", ".join(f"{name} {one}" for name, one in letter.versions.items())
        ui.label(
            shown(
                f"said by {letter.service} ({versions}); original at "
                f"{source.topic}/{source.partition}@{source.offset}",
                400,
            )
        ).classes("hr-soft hr-small hr-text")
        section("Bytes")
        pre(hex_dump(value, 1_024), wrap=False)
        section("As text")
        text = value.decode("utf-8", "replace")
        edited = (
            ui.textarea("A copy that may be mended", value=text[:20_000])
            .props("outlined autogrow input-style='max-height: 220px'")
            .classes("w-full hr-mono")
        )
        actions = self._page.console.actions

        async def replay() -> None:
            await self._page.change(
                lambda: actions.replay(self._page.actor, [row]), "the original is back on its topic"
            )

        async def publish() -> None:
            await self._page.change(
                lambda: actions.publish_edited(self._page.actor, letter.id, edited.value or ""),
                "the mended copy is on its topic",
            )

        with ui.row().classes("hr-row"):
            button("Replay the original", replay, "hr-main-button")
            button("Publish the mended copy", publish)

    async def _replay_class(self) -> None:
        rows = await self._page.ask(self._page.console.reader.dead, self._class, 500)
        count = len(rows)
        with ui.dialog(value=True) as dialog, ui.card().classes("hr-card"):
            dialog.on("hide", dialog.delete)
            ui.label(f"Put {count} originals back on their topics? Each goes back once at most.")

            async def go() -> None:
                dialog.close()
                outcome = await self._page.change(
                    lambda: self._page.console.actions.replay(self._page.actor, rows), quiet=True
                )
                if isinstance(outcome, dict):
                    new = sum(one == "replayed" for one in outcome.values())
                    ui.notify(
                        f"{new} replayed, {len(outcome) - new} replayed before", type="positive"
                    )

            with ui.row().classes("hr-row"):
                button(f"Replay {count}", go, "hr-main-button")
                button("Leave them", dialog.close)
