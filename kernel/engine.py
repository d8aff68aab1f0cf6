"""The engine: the stages between a lane's submit and its answers.

Three stages overlap: tokenize (a thread), forward (as many threads as passes run side by
side), and look-up, post-process and hand-back (the event loop). One pass more is asked for
than there are forward threads, so that none waits for the loop between two; each pass
chooses its batch only when it begins, so that nothing urgent waits behind a batch that was
chosen before it came. A long text is scored a few of its windows at a time, each time anew
in its turn, so that nothing waits behind the whole of it.

Faults (docs/drivers.md): a batch that fails is halved until the input that fails stands alone,
and that one ends as a dead letter; a pass without an answer in time is interrupted, and its
inputs are tried one by one (`kernel.passes`); one that wants more memory than there is halves
the budget; a GPU that is lost ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Final, Protocol

from kernel.cache import ResultCache, input_key
from kernel.drivers.base import (
    DeviceLostError,
    Driver,
    DriverError,
    ExhaustedError,
    Outcome,
    Output,
)
from kernel.drivers.encoding import Encoding
from kernel.intake import Intake
from kernel.jobs import EngineStats, Job, Scoring, Verdict, resolve
from kernel.passes import HungError, Passes
from kernel.scheduler import FILL_TOKENS, Request, Scheduler
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import KernelRequest

log = logging.getLogger(__name__)

TOKEN_BUDGET: Final = 512
"""Padded tokens in a batch on a CPU: larger ones fall out of its caches (docs/benchmarks.md)."""
GPU_TOKEN_BUDGET: Final = 8_192
"""The same on a GPU; unmeasured."""
FORWARD_TIMEOUT_S: Final = 30.0
CALM_PASSES: Final = 256
"""Passes without want of memory after which a halved budget is doubled again."""
MIN_BUDGET: Final = 32
LONG: Final = 8
"""From so many windows on, an answer is put together off the event loop."""


class Drivers(Protocol):
    """Which driver answers a request: `kernel.models` in the service."""

    def driver_for(self, request: KernelRequest) -> Driver | None:
        """The driver that answers a request; None while there is none."""

    async def wait_for(self, request: KernelRequest) -> Driver:
        """The driver that answers a request, waiting until there is one."""


_Pass = tuple[Driver, list[Scoring], list[Output] | Exception, float, float]
"""Model, batch, outputs or what went wrong, when it began, seconds."""


class Engine:
    """Scores requests of all lanes, in batches of about one length, `passes` side by side."""

    def __init__(
        self,
        models: Drivers,
        cache: ResultCache[Outcome],
        *,
        passes: int = 1,
        budget: int = TOKEN_BUDGET,
        fill: int = FILL_TOKENS,
        weights: Mapping[str, float] | None = None,
        timeout_s: float = FORWARD_TIMEOUT_S,
    ) -> None:
        self._models = models
        self._passes = passes
        self._budget = self._most = budget
        self._calm = 0
        """Passes since one wanted too much memory."""
        self._scheduler: Scheduler[Driver, Job] = Scheduler(weights, fill)
        self._lock = Lock()
        """Of the scheduler, and of whether a scoring is taken: two threads use them."""
        self._scorings: dict[bytes, Scoring] = {}
        self._intakes: dict[str, Intake] = {}
        """By task: one whose model is missing waits alone."""
        self._context = copy_context()
        """Of all callbacks: a copy for each would be one more thing to keep for each request."""
        self._tasks = asyncio.TaskGroup()
        self._ready = asyncio.Event()
        self._timed = asyncio.Event()
        """A deadline was entered."""
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._forwarding = Passes(passes, timeout_s)
        self.cache = cache
        self.stats = EngineStats()

    def enter(self, jobs: Sequence[Job]) -> None:
        """Take requests in, in lane order; their verdicts resolve when they are scored."""
        for task in dict.fromkeys(job.request.task for job in jobs):
            if task not in self._intakes:
                self._intakes[task] = Intake()
                self._tasks.create_task(self._tokenize(self._intakes[task]))
            self._intakes[task].put(job for job in jobs if job.request.task == task)
        loop = asyncio.get_running_loop()
        for job in jobs:
            job.verdict.add_done_callback(partial(self._forget, job), context=self._context)
            if job.deadline is not None and self._models.driver_for(job.request) is None:
                # It may expire before there is a model, and so before it can be scheduled.
                loop.call_later(max(0.0, job.deadline - time.monotonic()), self._expire, job)

    async def run(self) -> None:
        """Run the stages until cancelled."""
        try:
            async with self._tasks:
                self._tasks.create_task(self._forwarding.watch())
                self._tasks.create_task(self._answer_expired())
                for _ in range(self._passes + 1):
                    self._tasks.create_task(self._score_ready())
        finally:
            self._forwarding.close()

    async def _tokenize(self, intake: Intake) -> None:
        """Look up or tokenize one task's requests."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await intake.take()
            for driver, own in (await self._by_driver(jobs)).items():
                fresh = self._look_up(driver, own)
                encodings = await loop.run_in_executor(
                    self._tokenizing,
                    _encode,
                    driver,
                    [scoring.jobs[0].request.text for scoring in fresh],
                    [scoring.jobs[0].request.target for scoring in fresh],
                )
                for scoring, encoding in zip(fresh, encodings, strict=True):
                    if isinstance(encoding, DriverError):
                        self._fail(scoring, encoding)
                    elif encoding.refusal is not None:
                        self._refuse(scoring, encoding.refusal)
                    else:
                        scoring.encoding = encoding
                        self._bring_on(scoring)
            self.stats.queued = len(self._scheduler)
            self._ready.set()

    async def _by_driver(self, jobs: Sequence[Job]) -> dict[Driver, list[Job]]:
        """Jobs by the driver that answers them, chosen in their order."""
        found: dict[Driver, list[Job]] = {}
        for job in jobs:
            driver = self._models.driver_for(job.request)
            if driver is None:
                driver = await self._models.wait_for(job.request)
            found.setdefault(driver, []).append(job)
        return found

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
            key = input_key(
                request.task, driver.version, driver.precision, request.text, request.target
            )
            outcome = self.cache.get(key)
            if outcome is not None:
                resolve(job, driver, outcome, began=now, forward_ms=0.0, cached=True)
                continue
            scoring = self._scorings.get(key)
            if scoring is None:
                job.scoring = self._scorings[key] = Scoring(key, driver, [job])
                fresh.append(job.scoring)
                continue
            self.stats.shared += 1
            job.scoring = scoring
            scoring.jobs.append(job)
            if scoring.part is not None:
                self._schedule(job, scoring, scoring.part)
        return fresh

    def _bring_on(self, scoring: Scoring) -> None:
        """Let every job of a scoring wait for its next windows."""
        whole = scoring.encoding
        if whole is None:
            return
        part = scoring.part = (
            whole if len(whole.windows) == 1 else whole.part(len(scoring.said), self._budget)
        )
        for job in scoring.jobs:
            self._schedule(job, scoring, part)
        self._drop_if_unwanted(scoring)

    def _schedule(self, job: Job, scoring: Scoring, part: Encoding) -> None:
        """Let the job wait in its own name: whoever of a scoring's jobs is first brings it on."""
        if job.verdict.done():
            return
        waiting = Request(
            scoring.driver,
            part.tokens,
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
        """An answered job, or one whose lane has closed, waits no longer.

        What it waited with refers to it: left in a circle they would stay until they are collected.
        """
        if job.waiting is not None:
            with self._lock:
                self._scheduler.withdraw(job.waiting)
                job.waiting = None
        scoring, job.scoring = job.scoring, None
        if scoring is not None:
            self._drop_if_unwanted(scoring)

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
        while True:
            self._ready.clear()
            done = await self._forwarding.run(self._next_pass)
            if done is None:
                await self._ready.wait()
                continue
            self.stats.queued = len(self._scheduler)
            if self.stats.queued:
                self._ready.set()
            await self._hand_back(done)

    def _next_pass(self) -> _Pass | None:
        """On the forward thread: choose a batch and score it; None where nothing waits."""
        batch: list[Scoring] = []
        with self._lock:
            while not batch:  # what was answered meanwhile may be all that is chosen
                chosen = self._scheduler.take(time.monotonic(), self._budget)
                if not chosen:
                    return None
                batch = [one for request in chosen if (one := self._claim(request.work))]
        return self._forward(batch[0].driver, batch)

    def _claim(self, job: Job) -> Scoring | None:
        """The scoring of a job for the batch that is made, once; the lock is held."""
        scoring = job.scoring
        if scoring is None or scoring.taken:
            return None
        scoring.taken = True
        for other in scoring.jobs:
            if other.waiting is not None:
                self._scheduler.withdraw(other.waiting)
        return scoring

    def _forward(self, driver: Driver, batch: list[Scoring]) -> _Pass:
        """On a forward thread: score the next windows of each."""
        parts = [scoring.part for scoring in batch if scoring.part is not None]
        began = time.monotonic()

        def ended(said: list[Output] | Exception) -> _Pass:
            return driver, batch, said, began, time.monotonic() - began

        try:
            with self._forwarding.watched(driver.interrupt, ended):
                return ended(driver.forward(parts))
        except Exception as error:  # noqa: BLE001  (a driver may raise anything)
            return ended(error)

    async def _hand_back(self, done: _Pass) -> bool:
        """Answer a batch, or bring on what has more windows; whether all could be scored."""
        driver, batch, said, began, seconds = done
        if isinstance(said, Exception):
            return await self._recover(driver, batch, said)
        self._count(batch, seconds)
        for scoring, output in zip(batch, said, strict=True):
            whole = scoring.encoding
            if whole is None:
                continue
            if len(whole.windows) > 1:
                scoring.said = [*scoring.said, *output]
                if len(scoring.said) < len(whole.windows):
                    scoring.taken = False
                    self._bring_on(scoring)
                    continue
            try:
                outcome = await self._post(driver, whole, scoring.said or output)
            except Unanswerable as reason:
                self._refuse(scoring, reason)
                continue
            except Exception as error:  # noqa: BLE001  (a driver may raise anything)
                self._fail(scoring, error)
                continue
            self._done(scoring)
            self.cache.put(scoring.key, outcome)
            for place, job in enumerate(scoring.jobs):
                resolve(
                    job, driver, outcome, began=began, forward_ms=seconds * 1000, cached=place > 0
                )
        return True

    async def _post(self, driver: Driver, encoding: Encoding, output: Output) -> Outcome:
        if len(output) < LONG:
            return driver.post(encoding, output)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizing, driver.post, encoding, output)

    async def _recover(self, driver: Driver, batch: list[Scoring], error: Exception) -> bool:
        """Go on after a pass that failed; whether all of it could be scored after all."""
        if isinstance(error, DeviceLostError):
            log.critical("%s; this kernel ends so that another takes over its lanes", error)
            raise error
        self.stats.hung += isinstance(error, HungError)
        exhausted = isinstance(error, ExhaustedError)
        self.stats.exhausted += exhausted
        if len(batch) == 1:
            part = batch[0].part
            if exhausted and part is not None and len(part.windows) > 1:
                self._lower_budget(part.tokens, error)
                batch[0].taken = False
                self._bring_on(batch[0])
                return True
            self._fail(batch[0], error)
            return False
        # Halving finds one bad input in few passes, but a pass that hangs costs its time-out.
        size = 1 if isinstance(error, HungError) else -(-len(batch) // 2)
        scored = [
            await self._hand_back(
                await self._forwarding.run(
                    partial(self._forward, driver, batch[start : start + size])
                )
            )
            for start in range(0, len(batch), size)
        ]
        if exhausted and all(scored):  # its size was at fault, not one of its inputs
            parts = [scoring.part.tokens for scoring in batch if scoring.part is not None]
            self._lower_budget(len(parts) * max(parts), error)
        return all(scored)

    def _lower_budget(self, tokens: int, error: Exception) -> None:
        self._calm = 0
        self._budget = max(MIN_BUDGET, min(self._budget, tokens) // 2)
        log.warning("batches have at most %d tokens from now on: %s", self._budget, error)

    def _fail(self, scoring: Scoring, error: Exception) -> None:
        said = str(error) or type(error).__name__
        self._refuse(scoring, Unanswerable(ErrorClass.DRIVER_FAILED, said))

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
        self._calm += 1
        if self._calm >= CALM_PASSES and self._budget < self._most:
            self._calm = 0
            self._budget = min(self._most, 2 * self._budget)
        lengths = [
            window.tokens
            for scoring in batch
            if scoring.part is not None
            for window in scoring.part.windows
        ]
        self.stats.batches += 1
        self.stats.tokens += sum(lengths)
        self.stats.padded_tokens += len(lengths) * max(lengths)
        self.stats.forward_s.observe(seconds)


def _encode(
    driver: Driver, texts: Sequence[str], targets: Sequence[str | None]
) -> Sequence[Encoding | DriverError]:
    """Encodings; where the tokenizer fails, of each input by itself."""
    try:
        return driver.tokenize(texts, targets)
    except DriverError as error:
        if len(texts) == 1:
            return [error]
        each = zip(texts, targets, strict=True)
        return [_encode(driver, [text], [target])[0] for text, target in each]
