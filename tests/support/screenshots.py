"""Screenshots of every page over the starter feed, light and dark: `make screenshots`.

Starts a broker and the console in a temporary folder, publishes the story with its fixed
verdicts, and writes docs/console/PAGE-THEME.png, and a narrow one of some pages.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import BrowserContext

from streams.admin import apply
from streams.broker import EmbeddedBroker
from streams.broker_folder import free_port
from streams.settings import Settings
from tests.support.browser import PAGES, browser, window
from tests.support.story import tell
from tests.support.topics import until
from web.access import Access, folder

TICKER = "CRWK"
NARROW = ("live", "ticker")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """The console as a process of its own; yields its address once it has read everything."""
    environment = os.environ | {
        "HEADRACE_BOOTSTRAP": settings.bootstrap,
        "HEADRACE_DATA": str(settings.data),
        "HEADRACE_CONSOLE_PORT": str(settings.console_port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console.main", "serve", "console", env=environment
    )
    base = f"http://127.0.0.1:{settings.console_port}"
    token = Access(folder(settings)).make_token("screenshots", "viewer")

    async def ready() -> bool:
        assert process.returncode is None, "the console ended"
        try:
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client:
                return bool((await client.get(f"{base}/v1/status")).json()["reader"]["caught_up"])
        except httpx.TransportError:
            return False

    try:
        await until(ready, "the console has read the topics", 60)
        yield base
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def session(settings: Settings) -> str:
    """A session as operator, by the one-time link."""
    access = Access(folder(settings))
    return access.accept(access.invite())


async def shoot(context: BrowserContext, name: str, path: Path) -> None:
    """One page, when it has settled."""
    page = await context.new_page()
    await page.goto(PAGES[name].format(ticker=TICKER))
    await page.wait_for_function("document.querySelector('.hr-status')?.textContent != '…'")
    await page.wait_for_timeout(1_200)
    if name == "dead-letters":
        await page.get_by_role("button", name="Look").first.click()
        await page.wait_for_timeout(600)
    await page.screenshot(path=path, full_page=False)
    await page.close()


async def main(out: Path) -> None:
    """Write every screenshot into the folder `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        async with EmbeddedBroker(data / "broker") as broker:
            settings = Settings(data=data, bootstrap=broker.bootstrap, console_port=free_port())
            await apply(settings)
            async with serving(settings) as base, browser() as found:
                await tell(settings)
                who = session(settings)
                for theme in ("light", "dark"):
                    async with window(found, base, who, theme=theme) as wide:
                        for name in PAGES:
                            await shoot(wide, name, out / f"{name}-{theme}.png")
                async with window(found, base, who, width=390) as narrow:
                    for name in NARROW:
                        await shoot(narrow, name, out / f"{name}-narrow.png")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/console")))
