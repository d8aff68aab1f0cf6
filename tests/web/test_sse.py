"""A listener that is slow, or reads nothing, costs the console a bounded amount."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from web import sse
from web.live import Live
from web.sse import Listeners, TooManyListeners


def happen(live: Live, count: int) -> None:
    for _ in range(count):
        live.number += 1
        live.events.append((live.number, "alert", {"id": str(live.number)}))


async def receive() -> dict[str, Any]:
    """A client that never closes."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_a_slow_listener_gets_the_newest_events_and_not_a_backlog() -> None:
    live = Live()
    events = Listeners(live).events()
    assert b"event: status" in await anext(events)
    happen(live, 10_000)
    caught_up: list[bytes] = []
    while b"event: status" not in (chunk := await anext(events)):
        caught_up.append(chunk)
    assert len(caught_up) == live.events.maxlen, "no more than the console keeps for all"
    assert b'"10000"' in caught_up[-1]


async def test_who_takes_nothing_is_let_go_and_the_place_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "STALLED_S", 0.05)
    listeners = Listeners(Live())
    counted: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            counted.append(listeners.count)
            await asyncio.get_running_loop().create_future()  # its window is full for ever

    async with asyncio.timeout(10):
        await listeners.stream()({"type": "http", "asgi": {}}, receive, send)
    assert counted == [1]
    assert listeners.count == 0


async def test_one_listener_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_LISTENERS", 1)
    listeners = Listeners(Live())
    started = asyncio.Event()

    async def send(_: Message) -> None:
        started.set()

    first = asyncio.create_task(listeners.stream()({"type": "http", "asgi": {}}, receive, send))
    await started.wait()
    with pytest.raises(TooManyListeners):
        listeners.stream()
    first.cancel()
    await asyncio.wait([first])
    listeners.stream()
