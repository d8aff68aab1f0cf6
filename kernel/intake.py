"""Requests of one task that wait for their tokens: the most urgent first, each class in order.

Tokenizing is a stage of its own before the scheduler. Were it first come, first served, an
urgent request would wait there for all of a backlog that was fetched before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from kernel.jobs import Job
from kernel.scheduler import URGENCIES

TOGETHER: Final = 64
"""Texts that are tokenized at once, a few milliseconds: so long an urgent one waits at most."""


class Intake:
    """Filled by lanes, emptied by whoever tokenizes."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Job]] = {urgency: deque() for urgency in URGENCIES}
        self._come = asyncio.Event()

    def put(self, jobs: Iterable[Job]) -> None:
        """Let jobs wait, in the order of their lanes."""
        for job in jobs:
            self._waiting[job.urgency].append(job)
        self._come.set()

    async def take(self) -> list[Job]:
        """The next jobs, at least one, waiting until there is one."""
        while not any(self._waiting.values()):
            self._come.clear()
            await self._come.wait()
        taken: list[Job] = []
        for waiting in self._waiting.values():
            while waiting and len(taken) < TOGETHER:
                taken.append(waiting.popleft())
        return taken
