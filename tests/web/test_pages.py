"""The pages in a real browser: main paths, clean consoles, accessibility, wild text, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, expect

from schemas.events import KernelResult
from schemas.topics import RESULTS
from streams import cluster as clients
from streams.message import Message
from tests.support.browser import PAGES, Theme, browser, chromium, window
from tests.support.site import session
from tests.web.conftest import Site
from web.access import Access, folder

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        chromium() is None,
        reason="no Chromium on this machine: apt-get install chromium",
    ),
]

expect.set_options(timeout=20_000)  # a machine that runs two test files at once is slow

TICKER = "DRFT"
LOOKS: list[tuple[Theme, int]] = [("light", 1280), ("dark", 390)]
SAYS = {
    "live": "Verdicts",
    "markets": TICKER,
    "ticker": "Trend windows",
    "alerts": "Acknowledge",
    "threads": "records, the newest last",
    "models": "tiny-1",
    "labels": "new labels until the next training",
    "dead-letters": "the text is empty",
    "operations": "Lag by partition",
}


@dataclass
class Heard:
    """What went wrong in a window."""

    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as found:
        yield found


@asynccontextmanager
async def opened(
    found: Browser, site: Site, *, width: int = 1280, theme: Theme = "light"
) -> AsyncIterator[tuple[BrowserContext, Heard]]:
    """A window of an operator, listening for what should not be."""
    heard = Heard()
    own = urlsplit(site.base).netloc
    secret = session(site.settings)
    async with window(found, site.base, secret, width=width, theme=theme) as context:
        context.on(
            "console",
            lambda one: heard.console.append(one.text) if one.type == "error" else None,
        )
        context.on("weberror", lambda one: heard.console.append(str(one.error)))
        context.on(
            "request",
            lambda one: (
                heard.foreign.append(one.url)
                if urlsplit(one.url).scheme.startswith("http") and urlsplit(one.url).netloc != own
                else None
            ),
        )
        context.set_default_timeout(20_000)
        yield context, heard


async def visit(context: BrowserContext, path: str) -> Page:
    """A page that has been filled."""
    page = await context.new_page()
    await page.goto(path)
    await page.wait_for_function(
        "document.querySelector('.hr-status') && "
        "document.querySelector('.hr-status').textContent !== '…'"
    )
    return page


async def serious(page: Page) -> list[str]:
    """Serious findings of an axe pass."""
    results = await Axe().run(page)
    return [
        f"{one['id']}: {one['help']} {[node['html'][:140] for node in one['nodes'][:3]]}"
        for one in results.response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("name", list(PAGES))
async def test_a_page_opens_clean_and_accessible_in_light_and_dark_wide_and_narrow(
    chrome: Browser, site: Site, name: str
) -> None:
    path = PAGES[name].format(ticker=TICKER)
    for theme, width in LOOKS:
        async with opened(chrome, site, theme=theme, width=width) as (context, heard):
            page = await visit(context, path)
            await expect(page.get_by_text(SAYS[name]).first).to_be_visible()
            assert await serious(page) == []
            overflow = await page.evaluate(
                "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
            )
            assert overflow <= 0, f"{overflow} pixels too wide at {width}"
            assert heard.console == []
            assert heard.foreign == []


async def test_a_verdict_shows_on_the_live_page_and_opens_with_its_reasons(
    chrome: Browser, site: Site
) -> None:
    async with opened(chrome, site) as (context, heard):
        page = await visit(context, "/")
        asked = asyncio.to_thread(
            site.client("labeller").post,
            "/v1/verdicts",
            json={"text": "a bad week for LIVE1", "thread": "LIVE1"},
        )
        assert (await asked).status_code == 200
        row = page.get_by_role("gridcell", name="LIVE1").first
        await expect(row).to_be_visible()  # how soon: `headrace bench console`
        await row.click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Which words moved the score?").click()
        await expect(dialog.get_by_text("bad (+")).to_be_visible()
        await dialog.get_by_role("button", name="It is positive").click()
        await expect(page.get_by_text("labelled positive")).to_be_visible()
        assert heard.console == []


async def test_text_of_a_feed_is_never_markup(chrome: Browser, site: Site) -> None:
    wild = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> up\u202etxt'
    ticker = "<b>EVIL</b>"
    result = KernelResult(
        id="result:evil",
        request_id="evil",
        task="sentiment",
        thread=ticker,
        target=ticker,
        label="<i>odd</i>",
        scores={"negative": 0.1, "neutral": 0.1, "positive": 0.8},
        model_version="<u>v</u>",
        precision="fp32",
        excerpt=wild,
        published_at=datetime.now(UTC),
    )
    async with opened(chrome, site) as (context, heard):
        live = await visit(context, "/")
        producer = clients.producer(site.settings)
        await producer.start()
        try:
            message = Message.of(RESULTS, ticker.encode(), result, "test")
            await (await message.send(producer))
        finally:
            await producer.stop()
        row = live.get_by_role("gridcell", name=ticker).first
        await expect(row).to_be_visible()
        await row.click()
        await expect(live.get_by_role("dialog").get_by_text("⟨U+202E⟩").first).to_be_visible()
        for path in (f"/ticker?name={ticker}", f"/threads?key={ticker}", "/markets", "/labels"):
            page = await visit(context, path)
            assert await page.evaluate("window.hacked") is None
            assert await page.locator("img[src='x']").count() == 0
        assert await live.evaluate("window.hacked") is None
        assert heard.console == []


async def test_the_label_desk_is_worked_by_keys_alone(chrome: Browser, site: Site) -> None:
    async with opened(chrome, site) as (context, _heard):
        page = await visit(context, "/labels")
        text = page.locator(".hr-big").first
        first = await text.inner_text()
        before = site.client().get("/v1/status").json()["totals"]["labels"]
        await page.keyboard.press("1")
        await expect(text).not_to_have_text(first)
        await expect(page.get_by_text("1 made here")).to_be_visible()
        after = site.client().get("/v1/labels?limit=1").json()[0]
        assert (after["label"], after["text"], after["labeller"]) == ("negative", first, "owner")
        second = await text.inner_text()
        await page.keyboard.press("s")
        await expect(text).not_to_have_text(second)
        await page.keyboard.press("u")
        await expect(page.get_by_text(f"{before} labels in all; 0 made here")).to_be_visible()


async def test_an_alert_is_acknowledged_and_leaves_the_open_list(
    chrome: Browser, site: Site
) -> None:
    with site.client("labeller") as client:
        for alert in client.get("/v1/alerts").json():
            client.put(f"/v1/alerts/{alert['id']}/state", json={"state": "open"})
    async with opened(chrome, site) as (context, _heard):
        page = await visit(context, "/alerts")
        cards = page.get_by_role("button", name="Acknowledge")
        await expect(cards.first).to_be_visible()
        count = await cards.count()
        assert count > 0
        await cards.first.click()
        await expect(cards).to_have_count(count - 1)
        await page.get_by_role("button", name="All").click()
        await expect(page.get_by_text("acknowledged by owner")).to_be_visible()


async def test_a_version_is_promoted_with_a_reason(chrome: Browser, site: Site) -> None:
    async with opened(chrome, site) as (context, _heard):
        page = await visit(context, "/models")
        card = page.locator(".hr-card").filter(has_text="sentiment tiny-2")
        await card.get_by_role("button", name="Promote").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Promote tiny-2").click()
        await expect(page.get_by_text("say why")).to_be_visible()
        await dialog.get_by_label("Reason").fill("seen better on the page")
        await dialog.get_by_role("button", name="Promote tiny-2").click()
        await expect(card.get_by_text("seen better on the page")).to_be_visible()
        await expect(card.get_by_text("live", exact=True)).to_be_visible()


async def test_a_dead_letter_is_looked_at_and_put_back(chrome: Browser, site: Site) -> None:
    async with opened(chrome, site) as (context, _heard):
        page = await visit(context, "/dead-letters")
        await page.get_by_role("button", name="wrong-type").click()
        await expect(page.get_by_text("the text is empty")).to_have_count(0)
        await page.get_by_role("button", name="Look").first.click()
        await expect(page.get_by_text("00000000  7b 22")).to_be_visible()
        await page.get_by_role("button", name="Replay the original").click()
        await expect(page.get_by_text("the original is back on its topic")).to_be_visible()


async def test_an_ended_session_leads_to_the_log_in(chrome: Browser, site: Site) -> None:
    access = Access(folder(site.settings))
    secret = access.accept(access.invite())
    actor = access.session(secret)
    assert actor is not None
    async with window(chrome, site.base, secret) as context:
        page = await visit(context, "/markets")
        access.log_out(actor.session)
        await page.wait_for_url("**/login**")
        await expect(page.get_by_label("Password")).to_be_visible()


async def test_a_broker_that_goes_away_is_said_on_open_pages_until_it_is_back(
    chrome: Browser, site: Site
) -> None:
    async with opened(chrome, site) as (context, _heard):
        page = await visit(context, "/")
        await asyncio.to_thread(lambda: asyncio.run(site.broker.stop()))
        try:
            banner = page.get_by_text("The cluster does not answer")
            await expect(banner).to_be_visible(timeout=30_000)
        finally:
            await asyncio.to_thread(lambda: asyncio.run(site.broker.start()))
        await expect(banner).to_be_hidden(timeout=40_000)
        await expect(page.locator(".hr-status")).to_contain_text("live", timeout=30_000)
