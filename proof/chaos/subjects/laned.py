"""The subject that is right: the lanes of `streams`, with trivial work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from proof.chaos.subjects import IN, OUT, SERVICE, WORK_S
from schemas.events import Cause
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.settings import Settings


class Copier:
    """Answers each record with a copy of it."""

    service = SERVICE

    def admit(self, record: Any) -> tuple[Message, Cause | None]:
        """The copy; what comes from outside has no cause."""
        return Message(OUT, record.key, record.value, list(record.headers)), None

    def submit(self, items: Sequence[Message]) -> Sequence[asyncio.Future[Answer]]:
        """All copies, when the work on the batch is done."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]

        def done() -> None:
            for answer, message in zip(answers, items, strict=True):
                if not answer.done():
                    answer.set_result(Answer((message,)))

        loop.call_later(WORK_S, done)
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Nothing to load."""


async def serve(settings: Settings) -> None:
    """Serve until cancelled."""
    await Lanes(settings, [IN], Copier()).run()
