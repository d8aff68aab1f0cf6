"""The kernel service: requests in by lanes, verdicts by the engine, results out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from kernel.cache import ResultCache
from kernel.drivers import device
from kernel.engine import GPU_TOKEN_BUDGET, TOKEN_BUDGET, Engine
from kernel.jobs import Job, Verdict
from kernel.metrics import engine_samples
from kernel.models import Models
from kernel.scheduler import FILL_TOKENS
from kernel.served import Choice, ChosenBy, Served
from kernel.shadow import Offer, Shadow
from kernel.swaps import swap
from schemas.envelope import Position, decode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Cause, KernelRequest, KernelResult
from schemas.ids import result_id
from schemas.limits import EXCERPT_CHARACTERS, MAX_TEXT_CHARACTERS
from schemas.topics import REQUESTS, RESULTS, Urgency
from streams.exposition import exposed
from streams.lane import Answer
from streams.lane_metrics import lane_samples
from streams.lanes import Lanes
from streams.message import Message
from streams.running import run_service
from streams.settings import Settings
from streams.together import together

SERVICE: Final = "kernel"
SWITCH_S: Final = 0.001
"""So long a thread may keep Python to itself while another waits for it. The event loop, which
commits, waits for the threads that tokenize and score; by default it is five times as long."""
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

    def __init__(self, models: Models, engine: Engine, shadow: Shadow) -> None:
        self._models = models
        self._engine = engine
        self._shadow = shadow
        self._context = copy_context()
        """Of all callbacks, as the engine's."""

    def admit(self, record: Any) -> tuple[Admitted, Cause | None]:
        """Decode a request and refuse what no model can answer."""
        position = Position(record.topic, record.partition, record.offset, record.timestamp)
        request = decode(KernelRequest, record.value, record.headers, position)
        check_text(request)
        self._check_task(request)
        lane = (record.topic, record.partition)
        return Admitted(request, _URGENCY[record.topic], lane), request.cause

    def _check_task(self, request: KernelRequest) -> None:
        if not self._models.knows(request.task):
            raise Unanswerable(
                ErrorClass.UNKNOWN_TASK,
                f"no model answers {request.task!r}: headrace models list",
                cause=request.cause,
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
            self._connect(job, answer)
            jobs.append(job)
            answers.append(answer)
        self._engine.enter(jobs)
        return answers

    async def prepare(self, versions: dict[str, str]) -> None:
        """Wait until what the lane's last owner had read of the registry is in force here."""
        await self._models.wait_until_seen(versions)

    def _connect(self, job: Job, answer: asyncio.Future[Answer], failed: str = "") -> None:
        """Turn the job's verdict into the lane's answer, and the lane's cancelling into the job's.

        `failed` is what the canary failed of, where the job is the second attempt.
        """
        request = job.request

        def answered(verdict: asyncio.Future[Verdict | None]) -> None:
            choice = self._models.settle(request)
            if answer.done() or verdict.cancelled():
                return
            error = verdict.exception()
            if error is not None:
                if _of_canary(choice, error):
                    self._models.spare(request)
                    self._ask_again(job, answer, str(error))
                else:
                    answer.set_exception(error)
                return
            said = verdict.result()
            if said is None or choice is None:  # nothing was chosen where there is no model
                answer.set_result(_expired(request))
                return
            result = result_of(request, said, choice.by)
            answer.set_result(_answer(result, choice.served))
            self._try_out(request, result, choice, failed)

        verdict = job.verdict
        verdict.add_done_callback(answered, context=self._context)
        answer.add_done_callback(
            lambda done: verdict.cancel() if done.cancelled() else None, context=self._context
        )

    def _ask_again(self, job: Job, answer: asyncio.Future[Answer], failed: str) -> None:
        """A canary that fails must not cost an answer: the live version gives it."""
        verdict: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        again = Job(job.request, job.urgency, job.lane, job.arrived, job.deadline, verdict)
        self._connect(again, answer, failed)
        self._engine.enter([again])

    def _try_out(
        self, request: KernelRequest, result: KernelResult, choice: Choice, failed: str
    ) -> None:
        """Hear the version on trial as well."""
        trial = self._models.trial(choice, result.model_version, failed=bool(failed))
        if trial is None:
            return
        offer = Offer(request, result, *trial)
        if failed:
            self._shadow.failed(offer, failed)
        elif choice.by == "route":
            self._shadow.offer(offer)


def check_text(request: KernelRequest) -> None:
    """Refuse a text that no model is asked about.

    Raises:
        Unanswerable: with EMPTY_TEXT or TEXT_TOO_LONG.
    """
    cause = request.cause
    if not request.text.strip():
        raise Unanswerable(ErrorClass.EMPTY_TEXT, "the text is empty", cause=cause)
    if len(request.text) > MAX_TEXT_CHARACTERS:
        raise Unanswerable(
            ErrorClass.TEXT_TOO_LONG,
            f"{len(request.text)} characters; at most {MAX_TEXT_CHARACTERS} are answered",
            cause=cause,
        )


def _of_canary(choice: Choice | None, error: BaseException) -> bool:
    return (
        choice is not None
        and choice.by == "route"
        and choice.version == choice.served.route.canary
        and isinstance(error, Unanswerable)
        and error.error_class == ErrorClass.DRIVER_FAILED
    )


def _answer(result: KernelResult, served: Served) -> Answer:
    task = result.task
    return Answer(
        (_message(result),),
        {task: served.mark},
        lambda record, marks: swap(task, served, record, marks, SERVICE),
    )


def result_of(
    request: KernelRequest, verdict: Verdict, chosen_by: ChosenBy = "route"
) -> KernelResult:
    """What the kernel says to a request that was scored."""
    outcome = verdict.outcome
    return KernelResult(
        id=result_id(request.id),
        request_id=request.id,
        task=request.task,
        thread=request.thread,
        target=request.target,
        label=outcome.label,
        scores=outcome.scores,
        entities=outcome.entities,
        vector=outcome.vector,
        score=outcome.score,
        model_version=verdict.version,
        precision=verdict.precision,
        cached=verdict.cached,
        chosen_by=chosen_by,
        excerpt=request.text[:EXCERPT_CHARACTERS],
        published_at=request.published_at,
        cause=request.cause,
        timings=verdict.timings,
    )


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
    """Serve until cancelled.

    Raises:
        DriverError: there is no such device here, or the GPU was lost.
        StuckError: too many forward passes hang.
    """
    place = device.find(settings.device)
    models = Models(settings, lambda: engine.stats.queued >= settings.degrade_above)
    engine = Engine(
        models,
        ResultCache(settings.cache_mb),
        passes=device.side_by_side(place),
        budget=GPU_TOKEN_BUDGET if place.gpu else TOKEN_BUDGET,
        fill=GPU_TOKEN_BUDGET if place.gpu else FILL_TOKENS,
        weights=settings.tenant_weights,
        timeout_s=settings.forward_timeout_s,
    )
    shadow = Shadow(settings, SERVICE, lambda: engine.stats.queued > 0)
    lanes = Lanes(
        settings, list(_URGENCY), KernelHandler(models, engine, shadow), lambda: models.waiting
    )
    reads = (lambda: engine_samples(engine), lambda: lane_samples(SERVICE, lanes))
    with exposed(settings, SERVICE, *reads):
        await together(models.follow(), engine.run(), shadow.run(), lanes.run())


def run(settings: Settings) -> None:
    """Run the kernel until SIGTERM."""
    sys.setswitchinterval(SWITCH_S)
    run_service(lambda: serve(settings))
