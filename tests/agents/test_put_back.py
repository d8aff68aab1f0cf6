"""An original that was put back is answered by the agent that refused it, and by no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from schemas.ids import dead_letter_id
from schemas.topics import FEED_EVENTS, REQUESTS
from streams.dead_letter import HEADER_REPLAY_OF
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(120)

NAME = "test.stubborn"


def put_back(service: str) -> list[tuple[str, bytes]]:
    return [(HEADER_REPLAY_OF, dead_letter_id(service, FEED_EVENTS.name, 0, 0).encode())]


async def test_readers_that_answered_the_first_time_pass_a_replay_over(
    cluster: Settings, start: Callable[..., Any]
) -> None:
    event = (b"k", orjson.dumps({"text": "x"}))
    for headers in ([], put_back("another"), put_back(NAME), put_back("another"), []):
        await topics.publish(cluster, FEED_EVENTS.name, [event], headers)
    start(cluster, NAME)

    async def asked() -> list[Any]:
        found = await topics.read_all(cluster, REQUESTS["bulk"].name)
        return found if len(found) >= 3 else []

    found = await topics.until(asked, "three requests")
    # The n-th event of the thread says n: what was passed over has not been counted.
    assert [record.json()["text"] for record in found] == ["1", "2", "3"]
    assert [record.json()["cause"][3] for record in found] == [0, 2, 4]
