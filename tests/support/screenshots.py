"""Screenshots of every page over the starter feed, light and dark: `make screenshots`.

Starts a broker and the console in a temporary folder, publishes the story with its fixed
verdicts, and writes docs/console/PAGE-THEME.png, and a narrow one of some pages.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import BrowserContext, FloatRect

from streams.admin import apply
from streams.broker import EmbeddedBroker
from streams.broker_folder import free_port
from streams.settings import Settings
from tests.support.browser import PAGES, browser, window
from tests.support.site import serving, session
from tests.support.story import tell

TICKER = "CRWK"
HEIGHTS = {"alerts": 560, "threads": 660, "markets": 680}
NARROW = ("live", "ticker")


async def shoot(context: BrowserContext, name: str, path: Path) -> None:
    """One page, when it has settled."""
    page = await context.new_page()
    await page.goto(PAGES[name].format(ticker=TICKER))
    await page.wait_for_function("document.querySelector('.hr-status')?.textContent != '…'")
    await page.wait_for_timeout(1_200)
    if name == "dead-letters":
        await page.get_by_role("button", name="Look").first.click()
        await page.wait_for_timeout(600)
    size = page.viewport_size or {"width": 1280, "height": 900}
    # Text packs badly: what is shown is cut so that a picture stays below 150 kB.
    clip = FloatRect(x=0, y=0, width=size["width"], height=HEIGHTS.get(name, 740))
    await page.screenshot(path=path, clip=clip)
    await page.close()


async def main(out: Path) -> None:
    """Write every screenshot into the folder `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        async with EmbeddedBroker(data / "broker") as broker:
            settings = Settings(data=data, bootstrap=broker.bootstrap, console_port=free_port())
            await apply(settings)
            with serving(settings) as base:
                async with browser() as found:
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
