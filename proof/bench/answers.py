"""Counting what a kernel answers: a read_committed reader, and what it holds against the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from schemas.events import Cause
from schemas.topics import RESULTS
from streams import reading
from streams.settings import Settings

STALL_S: Final = 60.0
"""No answer for this long ends the wait: what is missing counts as lost."""
FIRST_COMMIT_S: Final = 0.05
"""What is committed so soon after the very first answer counts as the first commit: lanes
commit each by themselves."""
_POLL_MS: Final = 50


class Answer(msgspec.Struct):
    """What a benchmark reads of a `KernelResult`."""

    request_id: str
    thread: str
    label: str = ""
    scores: dict[str, float] = {}
    status: str = ""
    model_version: str = ""
    precision: str = ""
    cached: bool = False
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, when the reader had it (monotonic) and when the kernel handed it over (epoch)."""

    answer: Answer
    at: float
    written: float


class Reader:
    """Reads results from where the topic ended when it was opened."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._decode = msgspec.json.Decoder(Answer).decode

    async def next(self) -> list[Seen]:
        """What has come; empty after a moment without any."""
        found = await self._consumer.getmany(timeout_ms=_POLL_MS)
        now = time.monotonic()
        return [
            Seen(self._decode(record.value), now, record.timestamp / 1000)
            for records in found.values()
            for record in records
        ]

    async def collect(
        self, count: int, ours: Callable[[Answer], bool] = lambda _: True, stall_s: float = STALL_S
    ) -> list[Seen]:
        """The next `count` answers that are `ours`; fewer where none comes for `stall_s`."""
        taken: list[Seen] = []
        last = time.monotonic()
        while len(taken) < count and time.monotonic() - last < stall_s:
            found = [one for one in await self.next() if ours(one.answer)]
            if found:
                last = time.monotonic()
                taken += found
        return taken

    async def rest(self, quiet_s: float = 0.3) -> list[Seen]:
        """What still comes until nothing has come for a moment: duplicates would be here."""
        taken: list[Seen] = []
        until = time.monotonic() + quiet_s
        while time.monotonic() < until:
            if found := await self.next():
                taken += found
                until = time.monotonic() + quiet_s
        return taken


@asynccontextmanager
async def reader(settings: Settings, topic: str = RESULTS.name) -> AsyncIterator[Reader]:
    """A reader of the results that are committed from now on."""
    parts = await reading.partitions(settings, (topic,))
    async with reading.assigned(settings, parts) as consumer:
        await consumer.seek_to_end(*parts)
        for part in parts:  # the seek is lazy: take the position before anybody commits
            await consumer.position(part)
        yield Reader(consumer)


@dataclass(slots=True)
class Count:
    """What the law of delivery asks about a round."""

    lost: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    cached: int = 0
    precision: str = ""
    _last: dict[str, int] = field(default_factory=dict)


def counted(asked: Sequence[str], seen: Collection[Seen]) -> Count:
    """Hold answers against the ids that were asked, in the order in which they were asked."""
    count = Count()
    place = {name: number for number, name in enumerate(asked)}
    missing = set(asked)
    for one in seen:
        answer = one.answer
        if answer.request_id not in place:
            continue
        if answer.request_id not in missing:
            count.duplicates += 1
            continue
        missing.remove(answer.request_id)
        count.cached += answer.cached
        count.precision = answer.precision
        number = place[answer.request_id]
        if number < count._last.get(answer.thread, -1):  # noqa: SLF001
            count.out_of_order += 1
        count._last[answer.thread] = number  # noqa: SLF001
    count.lost = len(missing)
    return count


def rate(written: Sequence[float]) -> float:
    """Answers a second from the first commit to the last one.

    The first commit itself is not counted, since its work was done before it; so the
    start of the process, the joining of the group and the first passes are left out.
    """
    if not written:
        return 0.0
    first, last = min(written) + FIRST_COMMIT_S, max(written)
    later = sum(1 for one in written if one > first)
    return round(later / (last - first), 1) if last > first else 0.0


async def until(what: Callable[[], bool], timeout_s: float, about: str) -> None:
    """Return when `what` holds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{about}: not within {timeout_s:.0f} s")
        await asyncio.sleep(0.05)
