"""Debian's Chromium, driven headless: for the tests of the pages and for their screenshots."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from playwright.async_api import Browser, BrowserContext, async_playwright

Theme = Literal["light", "dark"]

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = {
    "live": "/",
    "markets": "/markets",
    "ticker": "/ticker?name={ticker}",
    "alerts": "/alerts",
    "threads": "/threads?key={ticker}",
    "models": "/models",
    "labels": "/labels",
    "dead-letters": "/dead-letters",
    "operations": "/operations",
}


def chromium() -> str | None:
    """The installed browser; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A headless browser with an empty profile."""
    async with async_playwright() as play:
        found = await play.chromium.launch(
            executable_path=chromium(), headless=True, args=_FLAGS, chromium_sandbox=False
        )
        try:
            yield found
        finally:
            await found.close()


@asynccontextmanager
async def window(
    found: Browser, base: str, session: str, *, width: int = 1280, theme: Theme = "light"
) -> AsyncIterator[BrowserContext]:
    """A window that is logged in."""
    context = await found.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, base_url=base
    )
    await context.add_cookies(
        [
            {"name": "headrace_session", "value": session, "url": base, "httpOnly": True},
            {"name": "headrace_theme", "value": theme, "url": base},
        ]
    )
    try:
        yield context
    finally:
        await context.close()
