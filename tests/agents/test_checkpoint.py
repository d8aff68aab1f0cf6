"""A checkpoint is made whole, also by an agent that is asked to end in the middle of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import FEED_EVENTS
from streams.settings import Settings
from tests.agents.test_agent_runtime import NAME, asked, event
from tests.support import topics

pytestmark = pytest.mark.timeout(120)


async def test_an_agent_that_ends_while_it_writes_its_states_keeps_every_one(
    cluster: Settings, start: Callable[..., Any], tmp_path: Path
) -> None:
    # Many threads: the events after the checkpoint's are of others than those being written.
    keys = [b"k%d" % number for number in range(40)]
    agent = start(cluster, NAME, SLOW_STATES="3")
    log = tmp_path / f"{NAME}-0.log"
    await topics.publish(cluster, FEED_EVENTS.name, [event("x", key) for key in keys[:20]])
    await asked(cluster, 20)

    async def writing() -> bool:
        return "writing" in log.read_text()

    await topics.until(writing, "states are being written", 30)
    await topics.publish(cluster, FEED_EVENTS.name, [event("x", key) for key in keys[20:]])
    await asked(cluster, 40)
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait, 60) == 0

    start(cluster, NAME)
    await topics.publish(cluster, FEED_EVENTS.name, [event("x", key) for key in keys])
    counted = await asked(cluster, 80)
    assert counted.count("1") == 40
    assert counted.count("2") == 40, "no thread has forgotten its first event"
