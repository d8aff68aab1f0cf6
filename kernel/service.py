"""The kernel service: requests in by lanes, batches through drivers, results out.

Three stages overlap: tokenize (a thread), forward (a thread; ONNX Runtime uses the
cores), and decode, post-process and commit (the event loop). Two batches are in the
hands of the forward thread, so that it never waits for the loop between them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from kernel.drivers.base import Driver, DriverError, Encoding
from kernel.models import Models
from kernel.ready_queue import Entry, ReadyQueue
from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause, KernelRequest, KernelResult, KernelTimings
from schemas.ids import result_id
from schemas.limits import EXCERPT_CHARACTERS, MAX_TEXT_CHARACTERS
from schemas.topics import REQUESTS, RESULTS, Urgency
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.running import run_service
from streams.settings import Settings

SERVICE: Final = "kernel"
TOKEN_BUDGET: Final = 1_024
"""Padded tokens in a batch on a CPU: larger ones fall out of its caches (docs/benchmarks.md)."""
BATCHES_AHEAD: Final = 2

_URGENCY: Final[dict[str, Urgency]] = {topic.name: urgency for urgency, topic in REQUESTS.items()}


@dataclass(slots=True)
class Job:
    """A request on its way through the stages."""

    request: KernelRequest
    urgency: Urgency
    arrived: float
    answer: asyncio.Future[Answer]
    encoding: Encoding | None = None


class KernelHandler:
    """What the lanes of the kernel do with a request."""

    service = SERVICE

    def __init__(self, models: Models, engine: Engine) -> None:
        self._models = models
        self._engine = engine

    def admit(self, record: Any) -> tuple[tuple[KernelRequest, Urgency], Cause | None]:
        """Decode a request and refuse what no model can answer."""
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        request = decode(KernelRequest, record.value, record.headers, position)
        if not request.text.strip():
            raise Unanswerable(ErrorClass.EMPTY_TEXT, "the text is empty")
        if len(request.text) > MAX_TEXT_CHARACTERS:
            raise Unanswerable(
                ErrorClass.TEXT_TOO_LONG,
                f"{len(request.text)} characters; at most {MAX_TEXT_CHARACTERS} are answered",
            )
        if not self._models.knows(request.task):
            raise Unanswerable(
                ErrorClass.UNKNOWN_TASK, f"no model answers {request.task!r}: headrace models list"
            )
        return (request, _URGENCY[record.topic]), request.cause

    def submit(
        self, items: Sequence[tuple[KernelRequest, Urgency]]
    ) -> Sequence[asyncio.Future[Answer]]:
        """Put requests into the stages, in lane order."""
        now = time.monotonic()
        loop = asyncio.get_running_loop()
        jobs = [Job(request, urgency, now, loop.create_future()) for request, urgency in items]
        self._engine.enter(jobs)
        return [job.answer for job in jobs]

    async def prepare(self, versions: dict[str, str]) -> None:
        """Wait until the versions that the lane last used are known here."""
        await self._models.wait_until_seen(versions)


class Engine:
    """The stages between a lane's submit and its answers."""

    def __init__(self, models: Models, budget: int = TOKEN_BUDGET) -> None:
        self._models = models
        self._budget = budget
        self._queue: ReadyQueue[Driver, Job] = ReadyQueue()
        self._entered: dict[str, asyncio.Queue[list[Job]]] = {}
        self._tasks = asyncio.TaskGroup()
        self._ready = asyncio.Event()
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self._forwarding = ThreadPoolExecutor(1, "forward")
        self.batches = 0
        self.tokens = 0
        """Tokens scored, without padding."""
        self.padded_tokens = 0

    def enter(self, jobs: list[Job]) -> None:
        """Take requests in; their answers resolve when they are scored."""
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
        """Tokenise one task's requests in order; a task whose model is missing waits alone."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await entered.get()
            driver = self._models.driver(task) or await self._models.wait_for(task)
            encodings = await loop.run_in_executor(
                self._tokenizing,
                driver.tokenize,
                [job.request.text for job in jobs],
                [job.request.target for job in jobs],
            )
            for job, encoding in zip(jobs, encodings, strict=True):
                job.encoding = encoding
                self._queue.put(Entry(driver, encoding.tokens, job.urgency, job.arrived, job))
            self._ready.set()

    async def _score_ready(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._queue.take(self._budget)
            if not batch:
                self._ready.clear()
                await self._ready.wait()
                continue
            jobs = [entry.work for entry in batch if not entry.work.answer.done()]
            driver = batch[0].model
            if jobs:
                await self._score(loop, driver, jobs)

    async def _score(
        self, loop: asyncio.AbstractEventLoop, driver: Driver, jobs: Sequence[Job]
    ) -> None:
        """Score a batch; one that fails is halved until the record that fails stands alone."""
        encodings = [job.encoding for job in jobs if job.encoding is not None]
        began = time.monotonic()
        try:
            probabilities = await loop.run_in_executor(self._forwarding, driver.forward, encodings)
        except DriverError as error:
            if len(jobs) == 1:
                if not jobs[0].answer.done():
                    jobs[0].answer.set_exception(Unanswerable(ErrorClass.DRIVER_FAILED, str(error)))
                return
            middle = len(jobs) // 2
            await self._score(loop, driver, jobs[:middle])
            await self._score(loop, driver, jobs[middle:])
            return
        forward_ms = (time.monotonic() - began) * 1000
        self.batches += 1
        self.tokens += sum(encoding.tokens for encoding in encodings)
        self.padded_tokens += len(jobs) * max(encoding.tokens for encoding in encodings)
        for job, row in zip(jobs, probabilities.tolist(), strict=True):
            if not job.answer.done():  # a lane that closed has cancelled its answers
                job.answer.set_result(_answer(driver, job, row, began, forward_ms))


def _answer(
    driver: Driver, job: Job, row: Sequence[float], began: float, forward_ms: float
) -> Answer:
    request = job.request
    scores = {label: round(score, 6) for label, score in zip(driver.labels, row, strict=True)}
    result = KernelResult(
        id=result_id(request.id),
        request_id=request.id,
        task=request.task,
        thread=request.thread,
        target=request.target,
        label=max(scores, key=scores.__getitem__),
        scores=scores,
        model_version=driver.version,
        precision=driver.precision,
        excerpt=request.text[:EXCERPT_CHARACTERS],
        published_at=request.published_at,
        cause=request.cause,
        timings=KernelTimings(
            queued_ms=round((began - job.arrived) * 1000, 3), forward_ms=round(forward_ms, 3)
        ),
    )
    message = Message.of(RESULTS, request.thread.encode(), result, SERVICE)
    return Answer((message,), {request.task: driver.version})


async def serve(settings: Settings) -> None:
    """Serve until cancelled."""
    models = Models(settings)
    engine = Engine(models)
    lanes = Lanes(settings, list(_URGENCY), KernelHandler(models, engine))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(models.follow())
        tasks.create_task(engine.run())
        tasks.create_task(lanes.run())


def run(settings: Settings) -> None:
    """Run the kernel until SIGTERM."""
    run_service(lambda: serve(settings))
