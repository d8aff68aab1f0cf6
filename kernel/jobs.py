"""What passes through the engine: jobs, the scoring that jobs of one input share, verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from kernel.drivers.base import Driver, Outcome, Output
from kernel.drivers.encoding import Encoding
from kernel.scheduler import Request
from schemas.events import KernelRequest, KernelTimings
from schemas.topics import Urgency
from streams.distribution import Distribution


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says to one request."""

    outcome: Outcome
    version: str
    precision: str
    cached: bool
    timings: KernelTimings


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the stages."""

    request: KernelRequest
    urgency: Urgency
    lane: Hashable
    """What commits together with it: a partition."""
    arrived: float
    deadline: float | None
    """As `arrived`, on the monotonic clock."""
    verdict: asyncio.Future[Verdict | None]
    """None: its deadline came first."""
    scoring: Scoring | None = None
    waiting: Request[Driver, Job] | None = None
    """Its entry in the scheduler."""


@dataclass(slots=True, eq=False)
class Scoring:
    """One input to be scored, and every request that waits for it."""

    key: bytes
    driver: Driver
    jobs: list[Job]
    encoding: Encoding | None = None
    taken: bool = False
    """A batch holds it."""
    part: Encoding | None = None
    """The windows that are scored next: all of them, but for long texts."""
    said: Output = ()
    """To the windows before these, of long texts."""


@dataclass(slots=True)
class EngineStats:
    """Counters since the start."""

    batches: int = 0
    tokens: int = 0
    """Tokens scored, without padding."""
    padded_tokens: int = 0
    forward_s: Distribution = field(default_factory=Distribution)
    """Of each pass."""
    shared: int = 0
    """Requests answered by the pass of another one that was already waiting."""
    expired: int = 0
    hung: int = 0
    """Passes without an answer in time."""
    exhausted: int = 0
    """Passes that wanted more memory than there was."""
    queued: int = field(default=0)
    """Requests ready and not yet taken by a batch."""


def resolve(
    job: Job,
    driver: Driver,
    outcome: Outcome,
    *,
    began: float,
    forward_ms: float,
    cached: bool,
) -> None:
    """Answer a job, unless its lane has closed; `began` is of the pass, on the monotonic clock."""
    if job.verdict.done():  # a lane that closed has cancelled its requests
        return
    # A request may join a pass that has already begun: it has waited for nothing.
    timings = KernelTimings(
        queued_ms=round(max(0.0, began - job.arrived) * 1000, 3), forward_ms=round(forward_ms, 3)
    )
    job.verdict.set_result(Verdict(outcome, driver.version, driver.precision, cached, timings))
