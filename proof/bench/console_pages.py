"""The pages of the console as they are looked at: by sockets, and by a browser that draws them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import socketio
from yarl import URL

from proof.bench.stand import Stand
from proof.installation import Installation

WAIT_S: Final = 1_200.0
_CLIENT: Final = re.compile(r"""['"]client_id['"]:\s*['"]([^'"]+)""")


class NotMeasuredError(Exception):
    """Something that the benchmark needs is missing; the message says what."""


@dataclass(slots=True)
class Page:
    """One open page without a screen: it takes what a browser would take."""

    messages: int = 0
    samples_said: int = 0

    async def stay(self, session: aiohttp.ClientSession, base: str) -> None:
        """Open the live page and take what comes, until cancelled."""
        async with session.get(f"{base}/") as answer:
            found = _CLIENT.search(await answer.text())
        if found is None:
            raise NotMeasuredError("the page does not name its client: another NiceGUI?")
        socket = socketio.AsyncClient(reconnection=False, http_session=session)

        @socket.on("*")  # type: ignore[untyped-decorator]
        async def _(_event: str, given: Any) -> None:
            self.messages += 1
            self.samples_said += "verdicts/s shown" in str(given)

        client = found[1]
        await socket.connect(
            f"{base}?client_id={client}&tab_id={client}&document_id={client}"
            "&next_message_id=0&implicit_handshake=true",
            socketio_path="/_nicegui_ws/socket.io",
            transports=["websocket"],
            headers={"Origin": base, "Cookie": _cookies(session, base)},
        )
        try:
            await asyncio.Event().wait()
        finally:
            await socket.disconnect()


async def open_session(folder: Path, where: Stand, base: str) -> aiohttp.ClientSession:
    """A session as operator, by the one-time link that people are given."""
    settings = {"HEADRACE_BOOTSTRAP": where.settings.bootstrap}
    said = await asyncio.to_thread(Installation(folder, settings).run, "console", "link")
    found = re.search(r"https?://[^/]+(/\S+)", said.stdout)
    if found is None:
        raise NotMeasuredError(f"no link to the console: {said.stdout}{said.stderr}")
    session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(f"{base}{found[1]}"):
                    return session
            await asyncio.sleep(0.1)


def _cookies(session: aiohttp.ClientSession, base: str) -> str:
    found = session.cookie_jar.filter_cookies(URL(base))
    return "; ".join(f"{one.key}={one.value}" for one in found.values())


async def status(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    """How the console's reader is doing, as its API says."""
    async with session.get(f"{base}/v1/status") as answer:
        found: dict[str, Any] = (await answer.json())["reader"]
    return found


async def caught_up(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    """Wait until the reader has read all history; what its API says then."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await status(session, base)
            if found["caught_up"]:
                return found
            await asyncio.sleep(0.25)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def needs_browser() -> None:
    """Raises NotMeasuredError where Chromium or Playwright is not installed."""
    try:
        import playwright.async_api  # noqa: F401, PLC0415  (of the developers' tools)
    except ImportError as error:
        raise NotMeasuredError("this benchmark needs Playwright: make setup") from error
    if _chromium() is None:
        raise NotMeasuredError("this benchmark needs Chromium: apt-get install chromium")


@asynccontextmanager
async def browser(session: aiohttp.ClientSession, base: str) -> AsyncIterator[Any]:
    """A Chromium window, logged in as `session` is; closed at the end."""
    from playwright.async_api import async_playwright  # noqa: PLC0415

    async with async_playwright() as play:
        found = await play.chromium.launch(
            executable_path=_chromium(), headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        window = await found.new_context(viewport={"width": 1280, "height": 900}, base_url=base)
        await window.add_cookies(
            [
                {"name": name, "value": value, "url": base}
                for name, _, value in (
                    one.partition("=") for one in _cookies(session, base).split("; ")
                )
            ]
        )
        try:
            yield window
        finally:
            await found.close()
