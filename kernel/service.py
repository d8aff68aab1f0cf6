"""The kernel service: requests in by lanes, verdicts by the engine, results out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kernel.cache import ResultCache
from kernel.engine import Engine, Job, Verdict
from kernel.models import Models
from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause, KernelRequest, KernelResult
from schemas.ids import result_id
from schemas.limits import EXCERPT_CHARACTERS, MAX_TEXT_CHARACTERS
from schemas.topics import REQUESTS, RESULTS, Urgency
from streams.lane import Answer
from streams.lanes import Lanes
from streams.message import Message
from streams.running import run_service
from streams.settings import Settings

SERVICE: Final = "kernel"
_URGENCY: Final[dict[str, Urgency]] = {topic.name: urgency for urgency, topic in REQUESTS.items()}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request, and the lane that it came by."""

    request: KernelRequest
    urgency: Urgency
    lane: tuple[str, int]


class KernelHandler:
    """What the lanes of the kernel do with a request."""

    service = SERVICE

    def __init__(self, models: Models, engine: Engine) -> None:
        self._models = models
        self._engine = engine

    def admit(self, record: Any) -> tuple[Admitted, Cause | None]:
        """Decode a request and refuse what no model can answer."""
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        request = decode(KernelRequest, record.value, record.headers, position)
        self._check(request)
        lane = (record.topic, record.partition)
        return Admitted(request, _URGENCY[record.topic], lane), request.cause

    def _check(self, request: KernelRequest) -> None:
        cause = request.cause
        if not request.text.strip():
            raise Unanswerable(ErrorClass.EMPTY_TEXT, "the text is empty", cause=cause)
        if len(request.text) > MAX_TEXT_CHARACTERS:
            raise Unanswerable(
                ErrorClass.TEXT_TOO_LONG,
                f"{len(request.text)} characters; at most {MAX_TEXT_CHARACTERS} are answered",
                cause=cause,
            )
        if not self._models.knows(request.task):
            raise Unanswerable(
                ErrorClass.UNKNOWN_TASK,
                f"no model answers {request.task!r}: headrace models list",
                cause=cause,
            )

    def submit(self, items: Sequence[Admitted]) -> Sequence[asyncio.Future[Answer]]:
        """Put requests into the engine, in lane order."""
        now = time.monotonic()
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = []
        jobs: list[Job] = []
        ahead = now - time.time()
        for item in items:
            due = item.request.deadline
            deadline = None if due is None else due.timestamp() + ahead
            job = Job(item.request, item.urgency, item.lane, now, deadline, loop.create_future())
            answer: asyncio.Future[Answer] = loop.create_future()
            _connect(job, answer)
            jobs.append(job)
            answers.append(answer)
        self._engine.enter(jobs)
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Wait until the versions that the lane last used are known here."""
        await self._models.wait_until_seen(versions)


def _connect(job: Job, answer: asyncio.Future[Answer]) -> None:
    """Turn the job's verdict into the lane's answer, and the lane's cancelling into the job's."""

    def answered(verdict: asyncio.Future[Verdict | None]) -> None:
        if answer.done() or verdict.cancelled():
            return
        error = verdict.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            said = verdict.result()
            answer.set_result(_answer(job.request, said) if said else _expired(job.request))

    job.verdict.add_done_callback(answered)
    answer.add_done_callback(lambda done: job.verdict.cancel() if done.cancelled() else None)


def _answer(request: KernelRequest, verdict: Verdict) -> Answer:
    scores = {
        label: round(score, 6) for label, score in zip(verdict.labels, verdict.scores, strict=True)
    }
    result = KernelResult(
        id=result_id(request.id),
        request_id=request.id,
        task=request.task,
        thread=request.thread,
        target=request.target,
        label=max(scores, key=scores.__getitem__),
        scores=scores,
        model_version=verdict.version,
        precision=verdict.precision,
        cached=verdict.cached,
        excerpt=request.text[:EXCERPT_CHARACTERS],
        published_at=request.published_at,
        cause=request.cause,
        timings=verdict.timings,
    )
    return Answer((_message(result),), {request.task: verdict.version})


def _expired(request: KernelRequest) -> Answer:
    result = KernelResult(
        id=result_id(request.id),
        request_id=request.id,
        status="expired",
        task=request.task,
        thread=request.thread,
        target=request.target,
        label="",
        scores={},
        model_version="",
        precision="",
        excerpt=request.text[:EXCERPT_CHARACTERS],
        published_at=request.published_at,
        cause=request.cause,
    )
    return Answer((_message(result),))


def _message(result: KernelResult) -> Message:
    return Message.of(RESULTS, result.thread.encode(), result, SERVICE)


async def serve(settings: Settings) -> None:
    """Serve until cancelled."""
    models = Models(settings)
    engine = Engine(models, ResultCache(settings.cache_mb), weights=settings.tenant_weights)
    lanes = Lanes(settings, list(_URGENCY), KernelHandler(models, engine))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(models.follow())
        tasks.create_task(engine.run())
        tasks.create_task(lanes.run())


def run(settings: Settings) -> None:
    """Run the kernel until SIGTERM."""
    run_service(lambda: serve(settings))
