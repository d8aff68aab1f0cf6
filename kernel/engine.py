"""The engine: the stages between a lane's submit and its answers.

Three stages overlap: tokenize (a thread), forward (a thread; ONNX Runtime uses the
cores), and look-up, post-process and hand-back (the event loop). Two passes are asked
of the forward thread ahead, so that it never waits for the loop between them; each
chooses its batch only when it begins, so that nothing urgent waits behind a batch
that was chosen before it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernel.cache import ResultCache, input_key
from kernel.drivers.base import Driver, DriverError, Encoding
from kernel.models import Models
from kernel.scheduler import Request, Scheduler
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import KernelRequest, KernelTimings
from schemas.topics import Urgency

TOKEN_BUDGET: Final = 1_024
"""Padded tokens in a batch on a CPU: larger ones fall out of its caches (docs/benchmarks.md)."""
PASSES_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says to one request."""

    labels: Sequence[str]
    scores: Sequence[float]
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


_Pass = tuple[Driver, list[Scoring], NDArray[np.float32] | DriverError, float, float]
"""Model, batch, probabilities or what went wrong, when it began, seconds."""


@dataclass(slots=True)
class EngineStats:
    """Counters since the start."""

    batches: int = 0
    tokens: int = 0
    """Tokens scored, without padding."""
    padded_tokens: int = 0
    forward_s: float = 0.0
    shared: int = 0
    """Requests answered by the pass of another one that was already waiting."""
    expired: int = 0
    queued: int = field(default=0)
    """Requests ready and not yet taken by a batch."""


class Engine:
    """Scores requests of all lanes, in batches of about one length."""

    def __init__(
        self,
        models: Models,
        cache: ResultCache,
        budget: int = TOKEN_BUDGET,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self._models = models
        self._budget = budget
        self._scheduler: Scheduler[Driver, Job] = Scheduler(weights)
        self._lock = Lock()
        """Of the scheduler, and of whether a scoring is taken: two threads use them."""
        self._scorings: dict[bytes, Scoring] = {}
        self._entered: dict[str, asyncio.Queue[list[Job]]] = {}
        self._tasks = asyncio.TaskGroup()
        self._ready = asyncio.Event()
        self._timed = asyncio.Event()
        """A deadline was entered."""
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._forwarding = ThreadPoolExecutor(1, "forward")
        self.cache = cache
        self.stats = EngineStats()

    def enter(self, jobs: Sequence[Job]) -> None:
        """Take requests in, in lane order; their verdicts resolve when they are scored."""
        for task in dict.fromkeys(job.request.task for job in jobs):
            if task not in self._entered:
                self._entered[task] = asyncio.Queue()
                self._tasks.create_task(self._tokenize(task, self._entered[task]))
            self._entered[task].put_nowait([job for job in jobs if job.request.task == task])
        loop = asyncio.get_running_loop()
        for job in jobs:
            job.verdict.add_done_callback(partial(self._forget, job))
            if job.deadline is not None and self._models.driver(job.request.task) is None:
                # It may expire before there is a model, and so before it can be scheduled.
                loop.call_later(max(0.0, job.deadline - time.monotonic()), self._expire, job)

    async def run(self) -> None:
        """Run the stages until cancelled."""
        async with self._tasks:
            self._tasks.create_task(self._answer_expired())
            for _ in range(PASSES_AHEAD):
                self._tasks.create_task(self._score_ready())

    async def _tokenize(self, task: str, entered: asyncio.Queue[list[Job]]) -> None:
        """Look up or tokenize one task's requests; a task whose model is missing waits alone."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await entered.get()
            driver = self._models.driver(task) or await self._models.wait_for(task)
            fresh = self._look_up(driver, jobs)
            encodings = await loop.run_in_executor(
                self._tokenizing,
                driver.tokenize,
                [scoring.jobs[0].request.text for scoring in fresh],
                [scoring.jobs[0].request.target for scoring in fresh],
            )
            for scoring, encoding in zip(fresh, encodings, strict=True):
                scoring.encoding = encoding
                for job in scoring.jobs:
                    self._schedule(job, scoring, encoding)
                self._drop_if_unwanted(scoring)
            self.stats.queued = len(self._scheduler)
            self._ready.set()

    def _look_up(self, driver: Driver, jobs: Sequence[Job]) -> list[Scoring]:
        """Answer what is known, join what is being scored, and return the rest."""
        fresh: list[Scoring] = []
        now = time.monotonic()
        for job in jobs:
            request = job.request
            if job.deadline is not None and job.deadline <= now:
                self._expire(job)
            if job.verdict.done():
                continue
            key = input_key(driver.version, driver.precision, request.text, request.target)
            scores = self.cache.get(key)
            if scores is not None:
                _resolve(job, driver, scores, began=now, forward_ms=0.0, cached=True)
                continue
            scoring = self._scorings.get(key)
            if scoring is None:
                job.scoring = self._scorings[key] = Scoring(key, driver, [job])
                fresh.append(job.scoring)
                continue
            self.stats.shared += 1
            job.scoring = scoring
            scoring.jobs.append(job)
            if scoring.encoding is not None:
                self._schedule(job, scoring, scoring.encoding)
        return fresh

    def _schedule(self, job: Job, scoring: Scoring, encoding: Encoding) -> None:
        """Let the job wait in its own name: whoever of a scoring's jobs is first brings it on."""
        if job.verdict.done():
            return
        waiting = Request(
            scoring.driver,
            encoding.tokens,
            job.urgency,
            job.lane,
            job,
            job.request.tenant,
            job.deadline,
        )
        with self._lock:
            if scoring.taken:
                return
            job.waiting = waiting
            self._scheduler.enter(waiting)
        if job.deadline is not None:
            self._timed.set()

    def _forget(self, job: Job, _: asyncio.Future[Verdict | None]) -> None:
        """An answered job, or one whose lane has closed, waits no longer."""
        if job.waiting is not None:
            with self._lock:
                self._scheduler.withdraw(job.waiting)
        if job.scoring is not None:
            self._drop_if_unwanted(job.scoring)

    def _drop_if_unwanted(self, scoring: Scoring) -> None:
        if scoring.encoding is None or self._scorings.get(scoring.key) is not scoring:
            return
        with self._lock:
            taken = scoring.taken
        if not taken and all(job.verdict.done() for job in scoring.jobs):
            del self._scorings[scoring.key]

    def _expire(self, job: Job) -> None:
        if not job.verdict.done():
            self.stats.expired += 1
            job.verdict.set_result(None)

    async def _answer_expired(self) -> None:
        while True:
            with self._lock:
                late = self._scheduler.expired(time.monotonic())
                soonest = self._scheduler.next_deadline()
            for request in late:
                self._expire(request.work)
            self._timed.clear()
            pause = None if soonest is None else max(0.0, soonest - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._timed.wait(), pause)

    async def _score_ready(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._ready.clear()
            done = await loop.run_in_executor(self._forwarding, self._next_pass)
            if done is None:
                await self._ready.wait()
                continue
            self.stats.queued = len(self._scheduler)
            if self.stats.queued:
                self._ready.set()
            await self._hand_back(*done)

    def _next_pass(self) -> _Pass | None:
        """On the forward thread: choose a batch and score it; None where nothing waits."""
        with self._lock:
            chosen = self._scheduler.take(time.monotonic(), self._budget)
            batch: list[Scoring] = []
            for request in chosen:
                scoring = request.work.scoring
                if scoring is None or scoring.taken:
                    continue
                scoring.taken = True
                batch.append(scoring)
                for other in scoring.jobs:
                    if other.waiting is not None:
                        self._scheduler.withdraw(other.waiting)
        return _forward(chosen[0].model, batch) if batch else None

    async def _hand_back(
        self,
        driver: Driver,
        batch: list[Scoring],
        probabilities: NDArray[np.float32] | DriverError,
        began: float,
        seconds: float,
    ) -> None:
        """Answer a batch; one that failed is halved until the input that fails stands alone."""
        if isinstance(probabilities, DriverError):
            if len(batch) == 1:
                reason = Unanswerable(ErrorClass.DRIVER_FAILED, str(probabilities))
                self._refuse(batch[0], reason)
                return
            middle = len(batch) // 2
            loop = asyncio.get_running_loop()
            for half in (batch[:middle], batch[middle:]):
                done = await loop.run_in_executor(self._forwarding, _forward, driver, half)
                await self._hand_back(*done)
            return
        self._count(batch, seconds)
        for scoring, scores in zip(batch, probabilities.tolist(), strict=True):
            self._done(scoring)
            self.cache.put(scoring.key, scores)
            for place, job in enumerate(scoring.jobs):
                _resolve(
                    job, driver, scores, began=began, forward_ms=seconds * 1000, cached=place > 0
                )

    def _refuse(self, scoring: Scoring, verdict: Unanswerable) -> None:
        self._done(scoring)
        for job in scoring.jobs:
            if not job.verdict.done():
                job.verdict.set_exception(verdict)

    def _done(self, scoring: Scoring) -> None:
        # It may have been dropped just before the forward thread took it.
        if self._scorings.get(scoring.key) is scoring:
            del self._scorings[scoring.key]

    def _count(self, batch: Sequence[Scoring], seconds: float) -> None:
        lengths = [scoring.encoding.tokens for scoring in batch if scoring.encoding is not None]
        self.stats.batches += 1
        self.stats.tokens += sum(lengths)
        self.stats.padded_tokens += len(lengths) * max(lengths)
        self.stats.forward_s += seconds


def _forward(driver: Driver, batch: list[Scoring]) -> _Pass:
    encodings = [scoring.encoding for scoring in batch if scoring.encoding is not None]
    began = time.monotonic()
    try:
        probabilities: NDArray[np.float32] | DriverError = driver.forward(encodings)
    except DriverError as error:
        probabilities = error
    return driver, batch, probabilities, began, time.monotonic() - began


def _resolve(
    job: Job,
    driver: Driver,
    scores: Sequence[float],
    *,
    began: float,
    forward_ms: float,
    cached: bool,
) -> None:
    if job.verdict.done():  # a lane that closed has cancelled its requests
        return
    # A request may join a pass that has already begun: it has waited for nothing.
    timings = KernelTimings(
        queued_ms=round(max(0.0, began - job.arrived) * 1000, 3), forward_ms=round(forward_ms, 3)
    )
    job.verdict.set_result(
        Verdict(driver.labels, scores, driver.version, driver.precision, cached, timings)
    )
