"""A record that was refused is refused once, however often its agent says it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause
from schemas.topics import DEAD_LETTERS
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.settings import Settings
from tests.support import topics


class Refusing:
    """Refuses what says `refuse`, and copies the rest."""

    service = "refusing"

    def admit(self, record: Any) -> tuple[Message, Cause | None]:
        body = orjson.loads(record.value)
        cause = Cause("agent", "source", 0, body["offset"], 0)
        if body["refuse"]:
            raise Unanswerable(ErrorClass.UNKNOWN_TASK, "nobody knows", cause=cause)
        return Message("refused.out", record.key, record.value, []), cause

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        for answer, item in zip(answers, items, strict=True):
            answer.set_result(Answer((item,)))
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Nothing to load."""


def said(offset: int, *, refuse: bool) -> tuple[bytes, bytes]:
    return b"k", orjson.dumps({"offset": offset, "refuse": refuse})


async def test_a_replay_of_a_refused_record_is_no_second_dead_letter_nor_an_answer(
    cluster: Settings,
) -> None:
    await topics.create(cluster, "refused.in", "refused.out", partitions=1)
    await topics.publish(
        cluster,
        "refused.in",
        [
            said(1, refuse=True),
            said(2, refuse=False),
            said(1, refuse=True),  # replayed
            said(1, refuse=False),  # replayed when its task has become known
            said(2, refuse=False),
            said(3, refuse=False),
        ],
    )
    lanes = asyncio.create_task(Lanes(cluster, ["refused.in"], Refusing()).run())
    try:

        async def complete() -> list[Any]:
            found = await topics.read_all(cluster, "refused.out")
            return found if len(found) >= 2 else []

        answers = await topics.until(complete, "the last answer")
    finally:
        lanes.cancel()
        with suppress(asyncio.CancelledError):
            await lanes
    letters = [one.json()["source"]["offset"] for one in await _letters(cluster)]
    assert [one.json()["offset"] for one in answers] == [2, 3]
    assert letters == [0]


async def _letters(settings: Settings) -> list[Any]:
    found = await topics.read_all(settings, DEAD_LETTERS.name)
    return [one for one in found if one.json()["source"]["topic"] == "refused.in"]
