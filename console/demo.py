"""What `headrace demo` does: run everything, teach the first model, replay the starter feed.

A replay says each event under a new id (a prefix for the run), because an event id counts
once. Its times follow on the replay before: trends and alerts live in event time, and a
second replay at the times of the first would be a day of late events to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from console.board import Board
from console.events import Columns, Mapper
from console.rows import BadRow, InputError, Row, rows
from console.stack import beside
from schemas.events import Event, FeedEvent
from schemas.tasks import SENTIMENT
from schemas.topics import ALERTS, DEAD_LETTERS, FEED_EVENTS, LABELS, RESULTS, TRENDS
from streams.lag import lags
from streams.machine import Machine
from streams.message import Message
from streams.publishing import publisher
from streams.reading import Record, read
from streams.settings import Settings

FIRST_REPLAY_BEFORE: Final = timedelta(days=90)
"""How long before now the first replay's times begin: room for one replay after another."""
FEED_KEY: Final = b"starter-feed"
"""One key for the whole feed: what it says stays in order."""
LONGEST_WAIT_S: Final = 1.0
"""The night between two days of the feed is not waited for."""
WATCHED: Final = [RESULTS.name, TRENDS.name, ALERTS.name, DEAD_LETTERS.name]
_POLL_S: Final = 0.25
_LAG_EVERY_S: Final = 3.0

Seen = Callable[[Record], None]


def starter(name: str) -> Path:
    """A file of the starter content."""
    return Path(str(files("agents") / "finance" / "starter" / name))


def feed_events() -> list[FeedEvent]:
    """The starter feed, in order of time."""
    mapper = Mapper(FEED_EVENTS, Columns())
    return [event for event in _events("feed.csv", mapper) if isinstance(event, FeedEvent)]


def shifted(events: list[FeedEvent], days: timedelta, prefix: str) -> list[FeedEvent]:
    """The events under new ids and `days` later."""
    return [
        msgspec.structs.replace(
            event,
            id=f"{prefix}{event.id}",
            published_at=None if event.published_at is None else event.published_at + days,
        )
        for event in events
    ]


async def replay(
    settings: Settings, events: list[FeedEvent], speed: float | None, board: Board
) -> None:
    """Publish the feed as fast as its times say, `speed` times faster; None: no waiting."""
    board.to_publish = len(events)
    due = time.monotonic()
    before: datetime | None = None
    async with publisher(settings) as sender:
        for event in events:
            at = event.published_at
            if speed is not None and at is not None and before is not None:
                due += min((at - before).total_seconds() / speed, LONGEST_WAIT_S)
                await asyncio.sleep(max(due - time.monotonic(), 0))
            before = at
            await sender.send(Message.of(FEED_EVENTS, FEED_KEY, event, "demo"))
            board.published += 1


def next_shift(settings: Settings, events: list[FeedEvent]) -> timedelta:
    """Whole days to add to the feed's times, so that this replay follows on the last one.

    Where the last one ended is remembered in `demo.json`. After some forty replays they have
    caught up with the clock; then each ends today.
    """
    times = [event.published_at for event in events if event.published_at is not None]
    first, last = min(times), max(times)
    now = datetime.now(UTC)
    after = now - FIRST_REPLAY_BEFORE
    path = settings.data / "demo.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        after = datetime.fromisoformat(json.loads(path.read_text())["replayed_until"])
    days = min((after - first).days + 1, (now - last).days)
    shift = timedelta(days=days)
    path.write_text(json.dumps({"replayed_until": (last + shift).isoformat()}))
    return shift


async def teach(settings: Settings, board: Board) -> None:
    """See that a model is live: publish the starter labels if there are none, and wait."""
    from kernel import registry
    from streams import admin

    def live(versions: registry.Registry) -> bool:
        return versions.live(SENTIMENT.name) is not None

    if live(await registry.read(settings)):
        return
    states = await admin.describe(settings)
    if next(state for state in states if state.topic == LABELS.name).latest == 0:
        board.stage = "publishing the starter labels"
        mapper = Mapper(LABELS, Columns())
        async with publisher(settings) as sender:
            for event in _events("labels.csv", mapper):
                await sender.send(Message.of(LABELS, event.id.encode(), event, "demo"))
    board.stage = "first training"
    async with contextlib.aclosing(registry.states(settings, follow=True)) as changing:
        async for known in changing:
            if live(known):
                return


@asynccontextmanager
async def watching(settings: Settings, board: Board, seen: Seen) -> AsyncIterator[None]:
    """Keep the board current while the body runs; `seen` is told of each record."""
    async with (
        beside(_follow(settings, board, seen)),
        beside(_poll(settings, board)),
        beside(_poll_lag(settings, board)),
    ):
        yield


async def _follow(settings: Settings, board: Board, seen: Seen) -> None:
    async for record in read(settings, WATCHED, start="latest", until_end=False):
        board.apply(record)
        seen(record)


async def _poll(settings: Settings, board: Board) -> None:
    from trainer import progress

    machine = Machine(settings.data)
    path = settings.data / "runs" / "current.json"
    while True:
        board.services = machine.services()
        status = progress.read(path)
        board.training = None
        if status is not None and board.stage == "first training":
            if status.phase == "training":
                board.training = (status.step, status.of, status.eta_s)
            elif status.message or status.phase != "done":
                board.tell(f"trainer: {status.phase} {status.message}".strip())
        await asyncio.sleep(_POLL_S)


async def _poll_lag(settings: Settings, board: Board) -> None:
    while True:
        # A broker that restarts is no reason to stop watching: the number is just not known.
        board.lag = None
        with contextlib.suppress(Exception):
            board.lag = await behind(settings)
        await asyncio.sleep(_LAG_EVERY_S)


async def behind(settings: Settings) -> int:
    """Records that services have still to see; labels wait for more of them, and do not count.

    None waiting, after a publisher was acknowledged, means that everything is done: services
    commit an input after its outputs, and the ends are looked up after the commits.
    """
    return sum(one.lag for one in await lags(settings) if one.topic != LABELS.name)


async def all_seen(settings: Settings, since: datetime, board: Board) -> None:
    """Return when every service has seen everything, and the board every verdict `since`."""
    while await behind(settings):
        pass
    answered = 0
    async for _ in read(settings, [RESULTS.name], start=since):
        answered += 1
    while board.verdict_count < answered:  # noqa: ASYNC110  (a consumer task raises it)
        await asyncio.sleep(_POLL_S)


def _events(name: str, mapper: Mapper) -> list[Event]:
    found = []
    with starter(name).open("rb") as stream:
        for row in rows(stream, "csv"):
            event = mapper.event(row) if isinstance(row, Row) else row
            if isinstance(event, BadRow):
                raise InputError(f"{name} row {event.number}: {event.reason}")
            found.append(event)
    return found
