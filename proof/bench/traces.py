"""Traces of requests for the scheduler's simulation: recorded ones, and synthetic ones by seed."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from schemas.topics import Urgency

PARTITIONS: Final = 4
THREADS: Final = 200
MEAN_TOKENS: Final = 39
_LOG_MEAN: Final = 3.56
_LOG_DEVIATION: Final = 0.45
"""Log-normal lengths about the mean of tweets, cut to [6, 128]."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A request that reaches its topic; as JSON, one line of a recorded trace."""

    at: Annotated[float, msgspec.Meta(ge=0)]
    """Seconds since the trace began."""
    tokens: Annotated[int, msgspec.Meta(ge=1)]
    urgency: Urgency = "standard"
    thread: str = ""
    tenant: str = ""
    partition: int | None = None
    """Of the urgency's topic; None: by hash of the thread."""
    deadline: float | None = None

    @property
    def lane(self) -> tuple[Urgency, int]:
        """The partition that the request waits, and is committed, in."""
        if self.partition is None:
            return self.urgency, zlib.crc32(self.thread.encode()) % PARTITIONS
        return self.urgency, self.partition


def load(path: Path) -> list[Arrival]:
    """Read a recorded trace: JSON lines of `Arrival`, in any order.

    Raises:
        ValueError: a line is not an arrival; it is named.
    """
    trace: list[Arrival] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            trace.append(msgspec.json.decode(line, type=Arrival))
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return sorted(trace, key=_at)


def merged(*traces: list[Arrival]) -> list[Arrival]:
    """Several traces as one."""
    return sorted((one for trace in traces for one in trace), key=_at)


def poisson(
    seed: int,
    per_s: float,
    seconds: float,
    urgency: Urgency,
    *,
    since: float = 0.0,
    tenant: str = "",
    partitions: tuple[int, ...] = (),
    thread: str | None = None,
) -> list[Arrival]:
    """Arrivals at random: of one `thread`, else of `THREADS` equal ones.

    Threads lie on the partitions of their hashes, else spread evenly over `partitions`.
    """
    chance = random.Random(seed)

    def times() -> Iterator[float]:
        at = chance.expovariate(per_s)
        while at < seconds:
            yield since + at
            at += chance.expovariate(per_s)

    return [
        Arrival(
            at=at,
            tokens=_tokens(chance),
            urgency=urgency,
            thread=name,
            tenant=tenant,
            partition=partitions[zlib.crc32(name.encode()) % len(partitions)]
            if partitions
            else None,
        )
        for at in times()
        for name in [thread or f"{tenant}t{chance.randrange(THREADS)}"]
    ]


def backlog(seed: int, count: int, urgency: Urgency) -> list[Arrival]:
    """`count` requests that are all there at the beginning."""
    chance = random.Random(seed)
    return [
        Arrival(
            at=0.0,
            tokens=_tokens(chance),
            urgency=urgency,
            thread=f"t{chance.randrange(THREADS)}",
        )
        for _ in range(count)
    ]


def _tokens(chance: random.Random) -> int:
    return max(6, min(128, round(chance.lognormvariate(_LOG_MEAN, _LOG_DEVIATION))))


def _at(arrival: Arrival) -> float:
    return arrival.at
