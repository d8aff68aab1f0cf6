"""An agent that does what agents should not do, where its events ask for it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from agents.runtime import Agent, Context, Emit
from agents.runtime.executor import Executor
from schemas.events import FeedEvent, KernelRequest
from schemas.topics import FEED_EVENTS, REQUESTS, Topic

log = logging.getLogger(__name__)


class Stubborn(Agent[FeedEvent, int]):
    """Asks about the n-th event of each key; raises, hangs or says too much when told to."""

    name: ClassVar[str] = "test.stubborn"
    source: ClassVar[Topic] = FEED_EVENTS
    emits_to: ClassVar[tuple[Topic, ...]] = (REQUESTS["bulk"],)

    @property
    def state_type(self) -> type[int]:
        return int

    def process(
        self, event: FeedEvent, state: int | None, context: Context
    ) -> tuple[int | None, list[Emit]]:
        if event.text == "raise":
            raise ZeroDivisionError("as told")
        while event.text == "hang":
            pass
        text = "x" * 3_000_000 if event.text == "shout" else f"{(state or 0) + 1}"
        request = KernelRequest(
            id=context.emission_id(0),
            task="echo",
            text=text,
            thread=context.key or "",
            cause=context.cause(0),
        )
        return (state or 0) + 1, [Emit(REQUESTS["bulk"], context.key or "", request)]


def slow_states(seconds: float) -> None:
    """Let every write of states say so in the log, and then take so long."""
    write = Executor._write_states

    async def slowly(executor: Any, dirty: Any) -> None:
        if dirty:
            log.info("writing %d states", len(dirty))
            await asyncio.sleep(seconds)
        await write(executor, dirty)

    setattr(Executor, write.__name__, slowly)
