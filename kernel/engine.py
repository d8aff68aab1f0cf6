"""The engine: the stages between a lane's submit and its answers.

Three stages overlap: tokenize (a thread), forward (a thread; ONNX Runtime uses the
cores), and look-up, post-process and hand-back (the event loop). Two batches are in
the hands of the forward thread, so that it never waits for the loop between them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from kernel.cache import ResultCache, input_key
from kernel.drivers.base import Driver, DriverError, Encoding
from kernel.models import Models
from kernel.ready_queue import Entry, ReadyQueue
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import KernelRequest, KernelTimings
from schemas.topics import Urgency

TOKEN_BUDGET: Final = 1_024
"""Padded tokens in a batch on a CPU: larger ones fall out of its caches (docs/benchmarks.md)."""
BATCHES_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says to one request."""

    labels: Sequence[str]
    scores: Sequence[float]
    version: str
    precision: str
    cached: bool
    timings: KernelTimings


@dataclass(slots=True)
class Job:
    """A request on its way through the stages."""

    request: KernelRequest
    urgency: Urgency
    arrived: float
    verdict: asyncio.Future[Verdict]


@dataclass(slots=True)
class Scoring:
    """One input to be scored, and every request that waits for it."""

    key: bytes
    jobs: list[Job]
    encoding: Encoding | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits: a lane that closed has cancelled its requests."""
        return not all(job.verdict.done() for job in self.jobs)


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
    queued: int = field(default=0)
    """Inputs ready and not yet taken by a batch."""


class Engine:
    """Scores requests of all lanes, in batches of about one length."""

    def __init__(self, models: Models, cache: ResultCache, budget: int = TOKEN_BUDGET) -> None:
        self._models = models
        self._budget = budget
        self._queue: ReadyQueue[Driver, Scoring] = ReadyQueue()
        self._scorings: dict[bytes, Scoring] = {}
        self._entered: dict[str, asyncio.Queue[list[Job]]] = {}
        self._tasks = asyncio.TaskGroup()
        self._ready = asyncio.Event()
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

    async def run(self) -> None:
        """Run the stages until cancelled."""
        async with self._tasks:
            for _ in range(BATCHES_AHEAD):
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
                first = scoring.jobs[0]
                self._queue.put(
                    Entry(driver, encoding.tokens, first.urgency, first.arrived, scoring)
                )
            self.stats.queued = len(self._queue)
            self._ready.set()

    def _look_up(self, driver: Driver, jobs: Sequence[Job]) -> list[Scoring]:
        """Answer what is known, join what is being scored, and return the rest."""
        fresh: list[Scoring] = []
        for job in jobs:
            request = job.request
            key = input_key(driver.version, driver.precision, request.text, request.target)
            scores = self.cache.get(key)
            if scores is not None:
                _resolve(job, driver, scores, began=time.monotonic(), forward_ms=0.0, cached=True)
            elif key in self._scorings:
                self.stats.shared += 1
                self._scorings[key].jobs.append(job)
            else:
                self._scorings[key] = Scoring(key, [job])
                fresh.append(self._scorings[key])
        return fresh

    async def _score_ready(self) -> None:
        while True:
            batch = self._queue.take(self._budget)
            if not batch:
                self._ready.clear()
                await self._ready.wait()
                continue
            self.stats.queued = len(self._queue)
            wanted = []
            for entry in batch:
                if entry.work.wanted:
                    wanted.append(entry.work)
                else:
                    self._scorings.pop(entry.work.key, None)
            if wanted:
                await self._score(batch[0].model, wanted)

    async def _score(self, driver: Driver, batch: Sequence[Scoring]) -> None:
        """Score a batch; one that fails is halved until the input that fails stands alone."""
        encodings = [scoring.encoding for scoring in batch if scoring.encoding is not None]
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            probabilities = await loop.run_in_executor(self._forwarding, driver.forward, encodings)
        except DriverError as error:
            if len(batch) == 1:
                self._refuse(batch[0], Unanswerable(ErrorClass.DRIVER_FAILED, str(error)))
                return
            middle = len(batch) // 2
            await self._score(driver, batch[:middle])
            await self._score(driver, batch[middle:])
            return
        seconds = time.monotonic() - began
        self._count(encodings, seconds)
        for scoring, scores in zip(batch, probabilities.tolist(), strict=True):
            del self._scorings[scoring.key]
            self.cache.put(scoring.key, scores)
            for place, job in enumerate(scoring.jobs):
                _resolve(
                    job, driver, scores, began=began, forward_ms=seconds * 1000, cached=place > 0
                )

    def _refuse(self, scoring: Scoring, verdict: Unanswerable) -> None:
        del self._scorings[scoring.key]
        for job in scoring.jobs:
            if not job.verdict.done():
                job.verdict.set_exception(verdict)

    def _count(self, encodings: Sequence[Encoding], seconds: float) -> None:
        self.stats.batches += 1
        self.stats.tokens += sum(encoding.tokens for encoding in encodings)
        self.stats.padded_tokens += len(encodings) * max(encoding.tokens for encoding in encodings)
        self.stats.forward_s += seconds


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
