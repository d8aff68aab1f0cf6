"""What the runtime does about agents that fail, hang or idle, and about an absent broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.runtime.failstop import EXIT_CODE
from schemas.topics import FEED_EVENTS, OUTBOX, REQUESTS
from streams.admin import apply
from streams.broker import EmbeddedBroker
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(120)

NAME = "test.stubborn"
AWAY_S = 8.0
"""Longer than the session lasts; thirty seconds work as well, only slower."""


def event(text: str, key: bytes = b"k") -> tuple[bytes, bytes]:
    return key, orjson.dumps({"text": text})


async def asked(settings: Settings, count: int, seconds: float = 30) -> list[str]:
    """Texts of the requests, once there are `count`."""

    async def enough() -> list[Any]:
        found = await topics.read_all(settings, REQUESTS["bulk"].name)
        return found if len(found) >= count else []

    found = await topics.until(enough, f"{count} requests", seconds)
    return [record.json()["text"] for record in found]


async def test_an_agents_own_failure_is_one_dead_letter_and_leaves_its_state_alone(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    texts = ["a", "raise", "b", "shout", "c"]
    await topics.publish(cluster, FEED_EVENTS.name, [event(text) for text in texts])
    agent = start(cluster, NAME, HEADRACE_STANDSTILL_S="3")
    assert await asked(cluster, 3) == ["1", "2", "3"]
    letters = [record.json() for record in await topics.read_all(cluster, OUTBOX.name)]
    assert [letter["error_class"] for letter in letters] == ["agent-failed"] * 2
    assert letters[0]["reason"] == "ZeroDivisionError: as told"
    assert "too large" in letters[1]["reason"]

    # Idle for longer than a standstill may last: nothing to do is no standstill.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(agent.wait, 6), 5)
    await topics.publish(cluster, FEED_EVENTS.name, [event("d"), event("hang"), event("e")])
    assert await asyncio.to_thread(agent.wait, 60) == EXIT_CODE


async def test_an_agent_outlives_its_broker_and_goes_on_where_it_was(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker")
    await broker.start()
    settings = Settings(data=tmp_path, bootstrap=broker.bootstrap)
    await apply(settings)
    agent = start(settings, NAME)
    await topics.publish(settings, FEED_EVENTS.name, [event("x")] * 500)
    await asked(settings, 500)
    await broker.stop()
    await asyncio.sleep(AWAY_S)
    again = EmbeddedBroker(tmp_path / "broker", port=int(broker.bootstrap.rsplit(":")[-1]))
    await again.start()
    try:
        await topics.publish(settings, FEED_EVENTS.name, [event("x")] * 500)
        texts = await asked(settings, 1_000, 60)
        assert [int(text) for text in texts] == list(range(1, 1_001))
        assert agent.poll() is None
    finally:
        agent.kill()
        await again.stop()
