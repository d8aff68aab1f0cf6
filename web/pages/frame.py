"""What every page has: navigation, the state of the stream, who is logged in, and refreshing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka.errors import KafkaError
from fastapi import Request
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from streams.reading import StalledError
from web.access import AccessError, Actor
from web.actions import NotAllowed, Refused
from web.console import Console
from web.gate import actor_of
from web.pages.style import colours
from web.text import shown

log = logging.getLogger(__name__)

NAVIGATION: Final = (
    ("/", "Live", "stream"),
    ("/markets", "Markets", "show_chart"),
    ("/alerts", "Alerts", "notifications"),
    ("/threads", "Threads", "timeline"),
    ("/models", "Models", "model_training"),
    ("/labels", "Label desk", "label"),
    ("/dead-letters", "Dead letters", "mark_email_unread"),
    ("/operations", "Operations", "monitor_heart"),
)
_WORDS: Final = {"positive": "▲ positive", "negative": "▼ negative", "neutral": "● neutral"}


class Page:
    """One open page: who looks at it, in which light, and what to do each second."""

    def __init__(self, console: Console, request: Request, title: str) -> None:
        self.console = console
        self.title = title
        self.dark = request.cookies.get("headrace_theme") == "dark"
        self.colours = colours(dark=self.dark)
        self._actor = actor_of(request.scope)
        self._path = request.url.path
        self._status: ui.label | None = None
        self._banner: ui.element | None = None
        self._banner_text: ui.label | None = None

    @property
    def actor(self) -> Actor:
        """Who is here now: the session may have ended since the page was opened.

        Raises:
            NotAllowed: it has.
        """
        if not self._actor.session:
            return self._actor
        found = self.console.access.by_digest(self._actor.session)
        if found is None:
            raise NotAllowed("your session has ended: log in again")
        return found

    @contextmanager
    def body(self) -> Iterator[None]:
        """The frame; what is built inside is the page."""
        ui.dark_mode(self.dark)
        ui.colors(primary="#0b62a8")
        ui.page_title(f"{self.title} · Headrace")
        with (
            ui.left_drawer(bordered=False)
            .classes("hr-drawer")
            .props(
                'width=210 breakpoint=1000 show-if-above role=navigation aria-label="Pages"'
            ) as drawer
        ):
            for path, name, icon in NAVIGATION:
                here = self._path == path
                with ui.link(target=path).classes("hr-nav" + (" here" if here else "")) as link:
                    if here:
                        link.props('aria-current="page"')
                    with ui.row().classes("items-center gap-3 no-wrap"):
                        ui.icon(icon, size="20px").props("aria-hidden=true")
                        ui.label(name)
        with ui.header().classes("hr-header items-center no-wrap gap-2"):
            ui.button(icon="menu", on_click=drawer.toggle).props(
                'flat round dense color=inherit aria-label="Pages"'
            )
            ui.label("Headrace").classes("hr-brand")
            self._status = ui.label("…").classes("hr-chip hr-status").props("role=status")
            ui.space()
            self._who()
        with ui.element("div").classes("hr-banner").props("role=alert") as self._banner:
            self._banner_text = ui.label("")
        self._banner.set_visibility(False)
        with ui.column().classes("hr-main"):
            yield
        self._tick()
        ui.timer(1.0, self._tick)

    def every(self, seconds: float, refresh: Callable[[], Any]) -> None:
        """Call `refresh` now and then again and again while the page is open."""
        ui.timer(seconds, refresh, immediate=True)

    async def change(
        self, make: Callable[[], Awaitable[Any]], done: str = "", *, quiet: bool = False
    ) -> Any:
        """Carry out a change and say how it went; None where it was refused.

        With `quiet` only a refusal is said.
        """
        try:
            found = await make()
        except (Refused, AccessError) as error:
            ui.notify(str(error), type="negative", close_button="Close", timeout=8_000)
            return None
        except (KafkaError, StalledError, OSError) as error:
            log.warning("a change failed: %s", error)
            ui.notify(
                f"the cluster does not answer: {error}; nothing was changed, or look again",
                type="negative",
                close_button="Close",
            )
            return None
        if done and not quiet:
            ui.notify(done, type="positive")
        return found if found is not None else True

    async def ask(self, question: Callable[..., Any], *given: Any) -> Any:
        """Ask the index in a thread of its own."""
        return await asyncio.to_thread(question, *given)

    def _who(self) -> None:
        other = "light" if self.dark else "dark"
        ui.button(
            icon="light_mode" if self.dark else "dark_mode",
            on_click=lambda: ui.run_javascript(f"headrace.theme({json.dumps(other)})"),
        ).props(f'flat round dense color=inherit aria-label="Switch to {other} colours"')
        with (
            ui.button(icon="account_circle").props(
                f'flat round dense color=inherit aria-label="Account of {self._actor.name}"'
            ),
            ui.menu().classes("hr-card"),
        ):
            ui.label(f"{self._actor.name}, {self._actor.role}").classes("q-px-md q-py-sm")
            csrf = json.dumps(self._actor.csrf)
            ui.menu_item("Log out", lambda: ui.run_javascript(f"headrace.leave({csrf})"))

    def _tick(self) -> None:
        live = self.console.live
        if self._status is None or self._banner is None or self._banner_text is None:
            return
        try:
            _ = self.actor
        except NotAllowed:
            ui.navigate.to(f"/login?next={self._path}")
            return
        if not live.connected:
            text, kind = "cluster away", "hr-negative"
        elif not live.caught_up:
            text, kind = f"reading history {live.progress:.0%}", "hr-warn"
        elif sampling := live.sampling():
            text, kind = sampling, "hr-warn"
        else:
            text, kind = f"live · {sum(live.rates().values()):.0f} records/s", "hr-live"
        if text != self._status.text:
            self._status.set_text(text)
            self._status.classes(replace=f"hr-chip hr-status {kind}")
        self._banner.set_visibility(not live.connected)
        if not live.connected:
            said = f"The cluster does not answer; trying again. {live.trouble}"
            if said != self._banner_text.text:
                self._banner_text.set_text(said)


def label_class(label: str) -> str:
    """The chip's classes for a label."""
    known = label if label in {"positive", "negative"} else "neutral"
    return f"hr-chip hr-{known}"


def word(label: str) -> str:
    """A label with its sign."""
    return _WORDS.get(label) or shown(label, 40)


def chip(label: str, confidence: float | None = None) -> ui.label:
    """A label as a chip, told apart by sign and not by colour alone."""
    text = word(label) if confidence is None else f"{word(label)} {confidence:.2f}"
    return ui.label(text).classes(label_class(label))


def moment(ms: int | None) -> str:
    """A time for people: UTC, to the second."""
    if ms is None:
        return ""
    return f"{datetime.fromtimestamp(max(ms, 0) / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def clock(ms: int) -> str:
    """A time of day in UTC."""
    return f"{datetime.fromtimestamp(max(ms, 0) / 1000, UTC):%H:%M:%S}"


def duration(ms: float | None) -> str:
    """A span for people."""
    if ms is None:
        return ""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"


def heading(title: str, about: str) -> None:
    """The page's name and one sentence for a newcomer."""
    with ui.column().classes("gap-1"):
        TextElement(tag="h1", text=title)
        ui.label(about).classes("hr-soft")


def section(title: str) -> None:
    """The heading of a part of a page."""
    TextElement(tag="h2", text=title)


@contextmanager
def scrolling(name: str) -> Iterator[None]:
    """A region that scrolls sideways by itself, and by the keyboard."""
    region = ui.element("div").classes("hr-scroll")
    region.props["tabindex"] = 0
    region.props["role"] = "region"
    region.props["aria-label"] = name
    with region:
        yield


def button(text: str, press: Callable[..., Any], kind: str = "hr-button") -> ui.button:
    """A button in the look of the console."""
    return ui.button(text, on_click=press, color=None).classes(kind).props("no-caps unelevated")
