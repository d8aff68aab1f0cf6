"""`headrace bench console`: the web console under load, seen from real pages and a real browser.

Three questions: how soon a page is ready where the topics hold a million results, how soon an
answer stands on the live page after it is committed, and what the console costs while 2,000
events/s pass and twenty pages are open. The events come with the answers that services would
give, so that nothing but the console, the broker and the load is at work. Most open pages are
sockets that take what a browser would take; one is drawn by Chromium.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from proof.bench import answers, facts, texts
from proof.bench.console_load import Load
from proof.bench.console_pages import (
    NotMeasuredError,
    Page,
    browser,
    caught_up,
    needs_browser,
    open_session,
    status,
)
from proof.bench.percentiles import offer, schedule, summary
from proof.bench.stand import Say, Service, Stand, stand
from proof.beside import beside
from streams import cluster
from streams.broker_folder import free_port

RESULTS_BEFORE: Final = 1_000_000
LIVE_PER_S: Final = 50.0
PAGES: Final = 20
PATHS: Final = (
    "/",
    "/markets",
    "/ticker?name={ticker}",
    "/alerts",
    "/threads?key={ticker}",
    "/models",
    "/labels",
    "/dead-letters",
    "/operations",
)
_SHOWN: Final = """
    window.shown = {};
    new MutationObserver(changes => {
        const now = Date.now();
        for (const change of changes) for (const one of change.addedNodes) {
            const row = one.getAttribute && one.getAttribute('row-id');
            if (row && !(row in window.shown)) window.shown[row] = now;
        }
    }).observe(document.body, {childList: true, subtree: true});
"""
"""Keeps when each row of the grid was drawn, by partition and offset of its result."""


@dataclass(slots=True)
class _Cost:
    """CPU and memory of the console, looked at once a second."""

    shares: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    async def watch(self, console: Service) -> None:
        """Look until cancelled."""
        at, used = time.monotonic(), console.cpu_s()
        while True:
            await asyncio.sleep(1)
            now, more = time.monotonic(), console.cpu_s()
            self.shares.append((more - used) / (now - at))
            self.rss_mb.append(console.rss_mb())
            at, used = now, more


async def main(
    folder: Path, say: Say, *, results: int = RESULTS_BEFORE, seconds: float = 30.0
) -> dict[str, Any]:
    """Measure in the empty `folder`; the figures, as `headrace bench console` prints them.

    Raises:
        NotMeasuredError: Chromium or Playwright is not installed, or a page did not stay open.
    """
    needs_browser()
    async with stand(folder, say) as where:
        load = Load(where)
        say(f"writing {results} results")
        await load.history(results)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        environment = {"HEADRACE_CONSOLE_PORT": str(port)}
        began = time.monotonic()
        async with where.service("console", environment=environment) as console:
            session = await open_session(folder, where, base)
            async with session:
                read = await caught_up(session, base)
                indexed_s = time.monotonic() - began
                say(f"history read after {indexed_s:.0f} s")
                async with browser(session, base) as window:
                    ready = await _ready(window, load.ticker)
                    say(f"pages ready within {max(max(one) for one in ready.values()):.0f} ms")
                    shown = await _shown(where, window, load, seconds)
                    say(f"shown after p95 {shown['p95']} ms")
                    loaded = await _loaded((session, base), window, console, load, seconds)
                    say(f"{loaded['cpu_of_a_core_p50']:.0%} of a core at {loaded['offered_per_s']}")
    return {
        "machine": facts.machine(),
        "results_before": results,
        "reader": read,
        "index_s": round(indexed_s, 1),
        "page_ready_ms": ready,
        "shown_after_commit_ms": shown,
        "load": loaded,
    }


async def _ready(window: Any, ticker: str) -> dict[str, list[float]]:
    """Milliseconds until each page is drawn and its socket is open: first visit, and second."""
    found: dict[str, list[float]] = {}
    for _ in range(2):
        for path in PATHS:
            page = await window.new_page()
            began = time.monotonic()
            await page.goto(path.format(ticker=ticker), wait_until="load")
            await page.wait_for_function("window.did_handshake === true")
            await page.locator("h1, .hr-heading").first.wait_for()
            found.setdefault(path, []).append(round(1000 * (time.monotonic() - began), 0))
            await page.close()
    return found


async def _shown(where: Stand, window: Any, load: Load, seconds: float) -> dict[str, Any]:
    """From when a committed reader has a result until the live page has drawn it."""
    page = await window.new_page()
    await page.goto("/", wait_until="load")
    await page.wait_for_function("window.did_handshake === true")
    await page.evaluate(_SHOWN)
    had: dict[str, float] = {}
    placed: dict[str, tuple[int, int]] = {}
    times = schedule(LIVE_PER_S, seconds, texts.SEED)

    async def follow(reader: answers.Reader) -> None:
        while True:
            found = await reader.next()
            offset = time.time() - time.monotonic()
            for one in found:
                had[one.answer.request_id] = 1000 * (one.at + offset)

    producer = cluster.producer(where.settings)
    await producer.start()
    try:
        async with answers.reader(where.settings) as reader:
            following = asyncio.create_task(follow(reader))

            async def send(_number: int, _intended: float) -> None:
                name, message = load.result()
                done = await (await message.send(producer))
                placed[name] = (done.partition, done.offset)

            await offer(times, send)
            await asyncio.sleep(2)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await producer.stop()
    drawn: dict[str, float] = await page.evaluate("window.shown")
    await page.close()
    late = [
        drawn[f"{part}/{offset}"] - had[name]
        for name, (part, offset) in placed.items()
        if f"{part}/{offset}" in drawn and name in had
    ]
    return {
        "offered_per_s": LIVE_PER_S,
        "sent": len(times),
        "never_drawn": len(times) - len(late),
        **summary(late, histogram=False),
    }


async def _loaded(
    site: tuple[aiohttp.ClientSession, str],
    window: Any,
    console: Service,
    load: Load,
    seconds: float,
) -> dict[str, Any]:
    """What the console costs at 2,000 events/s with twenty pages open, and what the pages say."""
    session, base = site
    pages = [Page() for _ in range(PAGES - 1)]
    drawn = await window.new_page()
    await drawn.goto("/", wait_until="load")
    tasks = [asyncio.create_task(one.stay(session, base)) for one in pages]
    await asyncio.sleep(3)
    made = [load.whole() for _ in range(4_000)]
    cost = _Cost()
    try:
        sending = asyncio.create_task(load.send(made, seconds))
        await asyncio.sleep(seconds / 4)  # the first seconds warm up
        async with beside(cost.watch(console)):
            sent, took = await sending
            note = await drawn.locator("[role=status]").all_inner_texts()
        ended_at = await status(session, base)
        await asyncio.sleep(5)
        later = await status(session, base)
        broken = [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if broken:
        raise NotMeasuredError(f"{len(broken)} pages did not stay open: {ended[0]!r}")
    shares = sorted(cost.shares)
    return {
        "offered_per_s": round(sent / took, 1),
        "records_per_s": round(4 * sent / took, 1),
        "pages": PAGES,
        "cpu_of_a_core_p50": round(shares[len(shares) // 2], 3),
        "cpu_of_a_core_max": round(shares[-1], 3),
        "rss_mb_max": max(cost.rss_mb),
        "behind_at_the_end": ended_at["behind"],
        "behind_5_s_later": later["behind"],
        "sampling": ended_at["sampling"],
        "the_page_says": [one for one in note if one],
        "pages_that_were_told": sum(one.samples_said > 0 for one in pages) + any(note),
        "messages_to_a_page_per_s": round(
            sum(one.messages for one in pages) / len(pages) / (seconds + 3), 1
        ),
    }
