"""`headrace bench console`: the web console under load, seen from real pages and a real browser.

Three questions: how soon a page is ready where the topics hold a million results, how soon an
answer stands on the live page after it is committed, and what the console costs while 2,000
events/s pass and twenty pages are open. The events come with the answers that services would
give, so that nothing but the console, the broker and the load is at work. Most open pages are
sockets that take what a browser would take; one is drawn by Chromium.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import socketio

from proof.bench import answers, facts, texts
from proof.bench.percentiles import offer, schedule, summary
from proof.bench.stand import Say, Service, Stand, stand
from proof.bench.texts import Question
from proof.beside import beside
from proof.installation import Installation
from schemas.events import (
    Cause,
    FeedEvent,
    KernelRequest,
    KernelResult,
    KernelTimings,
    Trend,
    TrendWindow,
)
from schemas.ids import emission_id, result_id
from schemas.tasks import SENTIMENT
from schemas.topics import FEED_EVENTS, REQUESTS, RESULTS, TRENDS
from streams import cluster
from streams.broker_folder import free_port
from streams.message import Message

RESULTS_BEFORE: Final = 1_000_000
EVENTS_PER_S: Final = 2_000.0
LIVE_PER_S: Final = 50.0
PAGES: Final = 20
WAIT_S: Final = 1_200.0
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
_CLIENT: Final = re.compile(r"""['"]client_id['"]:\s*['"]([^'"]+)""")
_LABELS: Final = ("negative", "neutral", "positive")


class NotMeasuredError(Exception):
    """Something that the benchmark needs is missing; the message says what."""


@dataclass(slots=True)
class _Page:
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
    _needs_browser()
    async with stand(folder, say) as where:
        load = _Load(where)
        say(f"writing {results} results")
        await load.history(results)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        environment = {"HEADRACE_CONSOLE_PORT": str(port)}
        began = time.monotonic()
        async with where.service("console", environment=environment) as console:
            session = await _session(folder, where, base)
            async with session:
                status = await _caught_up(session, base)
                indexed_s = time.monotonic() - began
                say(f"history read after {indexed_s:.0f} s")
                async with _browser(session, base) as window:
                    ready = await _ready(window, load.ticker)
                    say(f"pages ready within {max(max(one) for one in ready.values()):.0f} ms")
                    shown = await _shown(where, window, load, seconds)
                    say(f"shown after p95 {shown['p95']} ms")
                    loaded = await _loaded((session, base), window, console, load, seconds)
                    say(f"{loaded['cpu_of_a_core_p50']:.0%} of a core at {loaded['offered_per_s']}")
    return {
        "machine": facts.machine(),
        "results_before": results,
        "reader": status,
        "index_s": round(indexed_s, 1),
        "page_ready_ms": ready,
        "shown_after_commit_ms": shown,
        "load": loaded,
    }


class _Load:
    """Events with the answers that services would give to them."""

    def __init__(self, where: Stand) -> None:
        self._where = where
        self._asked = texts.made_up(2_000)
        self._number = 0
        self._now = datetime.now(UTC)
        self.ticker = self._asked[0].ticker

    async def history(self, count: int) -> None:
        """Results of the last days, `count` of them."""
        producer = cluster.producer(self._where.settings, linger_ms=20)
        await producer.start()
        last: Any = None
        try:
            for number in range(count):
                at = self._now - timedelta(seconds=(count - number) * 0.2)
                last = await self._result(self._next(), at).send(producer)
                if number % 1_000 == 0:
                    await asyncio.sleep(0)
            if last is not None:
                await last
        finally:
            await producer.stop()

    def whole(self) -> list[Message]:
        """An event, its request, its result and its trend."""
        number, asked = self._next()
        name, at = f"load-{number}", datetime.now(UTC)
        event = FeedEvent(
            id=name, text=asked.text, tickers=[asked.ticker], source="bench", published_at=at
        )
        request = KernelRequest(
            id=f"{name}-r",
            task=SENTIMENT.name,
            text=asked.text,
            thread=asked.ticker,
            target=asked.target,
            published_at=at,
        )
        key = asked.ticker.encode()
        return [
            Message.of(FEED_EVENTS, name.encode(), event, "bench"),
            Message.of(REQUESTS["standard"], key, request, "bench"),
            self._result((number, asked), at),
            Message.of(TRENDS, key, _trend(number, asked, at), "bench"),
        ]

    def result(self) -> Message:
        """One result, now."""
        return self._result(self._next(), datetime.now(UTC))

    def _next(self) -> tuple[int, Question]:
        self._number += 1
        return self._number, self._asked[self._number % len(self._asked)]

    def _result(self, what: tuple[int, Question], at: datetime) -> Message:
        number, asked = what
        name = f"load-{number}-r"
        sure = 0.4 + 0.6 * random.Random(number).random()
        label = _LABELS[number % 3]
        scores = {one: sure if one == label else (1 - sure) / 2 for one in _LABELS}
        body = KernelResult(
            id=result_id(name),
            request_id=name,
            task=SENTIMENT.name,
            thread=asked.ticker,
            label=label,
            scores=scores,
            model_version="bench-1",
            precision="int8",
            excerpt=asked.text[:200],
            target=asked.target,
            published_at=at,
            cause=Cause("finance.reader", FEED_EVENTS.name, number % 4, number, 0),
            timings=KernelTimings(queued_ms=3.0, forward_ms=9.0),
        )
        return Message.of(RESULTS, asked.ticker.encode(), body, "bench")


def _trend(number: int, asked: Question, at: datetime) -> Trend:
    window = TrendWindow(count=9, positive=3, neutral=3, negative=3, mean=0.0, momentum=0.0)
    cause = Cause("finance.trends", RESULTS.name, number % 4, number, 0)
    return Trend(
        id=emission_id(cause),
        ticker=asked.ticker,
        as_of=at,
        windows={"5m": window, "1h": window, "1d": window},
        late=False,
        cause=cause,
    )


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


async def _shown(where: Stand, window: Any, load: _Load, seconds: float) -> dict[str, Any]:
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
                message = load.result()
                name = f"load-{load._number}-r"  # noqa: SLF001  (our own)
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
    load: _Load,
    seconds: float,
) -> dict[str, Any]:
    """What the console costs at 2,000 events/s with twenty pages open, and what the pages say."""
    session, base = site
    pages = [_Page() for _ in range(PAGES - 1)]
    drawn = await window.new_page()
    await drawn.goto("/", wait_until="load")
    tasks = [asyncio.create_task(one.stay(session, base)) for one in pages]
    await asyncio.sleep(3)
    made = [load.whole() for _ in range(4_000)]
    cost = _Cost()
    try:
        sending = asyncio.create_task(_send(load, made, seconds))
        await asyncio.sleep(seconds / 4)  # the first seconds warm up
        async with beside(cost.watch(console)):
            sent, took = await sending
            note = await drawn.locator("[role=status]").all_inner_texts()
        status = await _status(session, base)
        await asyncio.sleep(5)
        later = await _status(session, base)
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
        "behind_at_the_end": status["behind"],
        "behind_5_s_later": later["behind"],
        "sampling": status["sampling"],
        "the_page_says": [one for one in note if one],
        "pages_that_were_told": sum(one.samples_said > 0 for one in pages) + any(note),
        "messages_to_a_page_per_s": round(
            sum(one.messages for one in pages) / len(pages) / (seconds + 3), 1
        ),
    }


async def _send(load: _Load, made: Sequence[list[Message]], seconds: float) -> tuple[int, float]:
    """Send events at the full rate; how many, and in how many seconds."""
    producer = cluster.producer(load._where.settings, linger_ms=20)  # noqa: SLF001  (our own)
    await producer.start()
    began, sent = time.monotonic(), 0
    events = itertools.cycle(made)
    try:
        while (now := time.monotonic() - began) < seconds:
            due = int(now * EVENTS_PER_S)
            while sent < due:
                for message in next(events):
                    await message.send(producer)
                sent += 1
            await asyncio.sleep(0.02)
        await producer.flush()
    finally:
        await producer.stop()
    return sent, time.monotonic() - began


async def _session(folder: Path, where: Stand, base: str) -> aiohttp.ClientSession:
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
    from yarl import URL  # noqa: PLC0415  (aiohttp's own)

    found = session.cookie_jar.filter_cookies(URL(base))
    return "; ".join(f"{one.key}={one.value}" for one in found.values())


async def _status(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    async with session.get(f"{base}/v1/status") as answer:
        found: dict[str, Any] = (await answer.json())["reader"]
    return found


async def _caught_up(session: aiohttp.ClientSession, base: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await _status(session, base)
            if found["caught_up"]:
                return found
            await asyncio.sleep(0.25)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _needs_browser() -> None:
    try:
        import playwright.async_api  # noqa: F401, PLC0415  (of the developers' tools)
    except ImportError as error:
        raise NotMeasuredError("this benchmark needs Playwright: make setup") from error
    if _chromium() is None:
        raise NotMeasuredError("this benchmark needs Chromium: apt-get install chromium")


@asynccontextmanager
async def _browser(session: aiohttp.ClientSession, base: str) -> AsyncIterator[Any]:
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
