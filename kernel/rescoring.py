"""Rescoring: requests of the past, asked again of any version, answered on a side topic.

Live results are not touched. For a task and a version every offset is answered once: the
offsets that are done travel, per partition, in the metadata of an offset commit of a group
of their own, inside the transaction that carries the answers. So the same command, given
again after a kill or over a longer range, does what is missing and nothing twice, and of
two such commands at the same time the later one fences the earlier.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from kernel.cache import ResultCache
from kernel.coverage import Coverage
from kernel.drivers.base import Driver
from kernel.engine import Engine
from kernel.jobs import Job, Verdict
from kernel.loading import open_version
from kernel.service import check_text, result_of
from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import KernelRequest, ModelVersion
from schemas.ids import rescored_id
from schemas.topics import RESCORED
from streams import cluster, reading
from streams.closing import close
from streams.committed import committed
from streams.message import Message
from streams.offset_ranges import OffsetRange
from streams.reading import Record
from streams.settings import Settings

SERVICE: Final = "rescore"
HEADER_REQUEST_AT: Final = "headrace-request-at"
"""Where the request lies: topic, partition and offset, with colons between."""
CHUNK: Final = 2_048
"""Requests of one transaction: enough to fill batches of about one length."""
CHUNK_BYTES: Final = 16_000_000
REFUSALS_KEPT: Final = 20

Progress = Callable[[int, int], None]
"""Called with the offsets done and the offsets to do."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the range that has no answer: live, such a record ends as a dead letter."""

    topic: str
    partition: int
    offset: int
    error_class: str
    reason: str


class Rescoring(msgspec.Struct, kw_only=True):
    """What a rescoring did."""

    task: str
    version: str
    offsets: int
    """Offsets in the range, those of transaction markers too."""
    offsets_before: int = 0
    """Those of them that were done before."""
    scored: int = 0
    other_tasks: int = 0
    refused: dict[str, int] = {}
    """Records without an answer, by error class."""
    refusals: list[Refusal] = []
    """The first of them."""


async def rescore(
    settings: Settings,
    version: ModelVersion,
    ranges: Sequence[OffsetRange],
    progress: Progress = lambda *_: None,
) -> Rescoring:
    """Answer the requests of the version's task in `ranges` on `kernel.rescored`, each once.

    Raises:
        ArtefactError: the artefact is out of reach or damaged.
        DriverError: it cannot be loaded.
        CoverageError: more separate ranges than can be remembered.
        UnknownTopicError: the cluster has no side topic yet.
        KafkaError: what was committed stays; the same command goes on from there.
    """
    await reading.partitions(settings, [RESCORED.name])
    driver = await asyncio.to_thread(open_version, settings, version)
    engine = Engine(_Always(driver), ResultCache(settings.cache_mb))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run())
        await asyncio.sleep(0)  # it takes requests once it runs
        try:
            return await _Run(settings, version, engine, progress).over(ranges)
        finally:
            running.cancel()


class _Always:
    """One driver, whatever is asked."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def driver_for(self, request: KernelRequest) -> Driver:  # noqa: ARG002
        """The one driver."""
        return self._driver

    async def wait_for(self, request: KernelRequest) -> Driver:  # noqa: ARG002
        """The one driver."""
        return self._driver


class _Run:
    def __init__(
        self, settings: Settings, version: ModelVersion, engine: Engine, progress: Progress
    ) -> None:
        self._settings = settings
        self._version = version
        self._engine = engine
        self._progress = progress
        # Not among the groups of services: nothing lags behind here.
        self._group = f"headrace-rescore:{version.task}:{version.version}"
        self._covered: dict[TopicPartition, Coverage] = {}
        self._done = 0
        self._report = Rescoring(task=version.task, version=version.version, offsets=0)

    async def over(self, ranges: Sequence[OffsetRange]) -> Rescoring:
        """Do what is missing in `ranges`."""
        producer = cluster.producer(
            self._settings,
            transactional_id=self._group,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
        )
        await producer.start()  # another run of the same kind is fenced from here on
        try:
            await self._load([one.partition for one in ranges])
            missing = [
                OffsetRange(one.partition, *span)
                for one in ranges
                for span in self._covered[one.partition].missing(one.begin, one.end)
            ]
            self._report.offsets = sum(one.offsets for one in ranges)
            to_do = sum(one.offsets for one in missing)
            self._report.offsets_before = self._done = self._report.offsets - to_do
            self._progress(self._done, self._report.offsets)
            for one in missing:
                await self._answer(producer, one)
        finally:
            await close(producer)
        return self._report

    async def _load(self, parts: Sequence[TopicPartition]) -> None:
        admin = cluster.admin(self._settings)
        await admin.start()
        try:
            found = await committed(admin, self._group, parts)
        finally:
            await admin.close()
        for part in parts:
            commit = found.get(part)
            self._covered[part] = Coverage.load(commit.metadata if commit else None)

    async def _answer(self, producer: AIOKafkaProducer, span: OffsetRange) -> None:
        part, begin = span.partition, span.begin
        chunk: list[Record] = []
        size = 0
        async with reading.assigned(self._settings, [part]) as consumer:
            consumer.seek(part, begin)
            async for record in reading.up_to(consumer, [part], {part: span.end}):
                chunk.append(record)
                size += len(record.value or b"")
                if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                    end = record.offset + 1
                    await self._commit(producer, OffsetRange(part, begin, end), chunk)
                    begin, chunk, size = end, [], 0
        if begin < span.end:
            await self._commit(producer, OffsetRange(part, begin, span.end), chunk)

    async def _commit(
        self, producer: AIOKafkaProducer, span: OffsetRange, records: Sequence[Record]
    ) -> None:
        """The answers to `records`, and that `span` is done, in one transaction."""
        messages = await self._answers(records)
        covered = self._covered[span.partition]
        covered.add(span.begin, span.end)
        place = OffsetAndMetadata(covered.spans[-1][1], covered.dump())
        async with producer.transaction():
            deliveries = [await message.send(producer) for message in messages]
            # aiokafka commits although a send has failed: each must be seen to succeed.
            await asyncio.gather(*deliveries)
            await producer.send_offsets_to_transaction({span.partition: place}, self._group)
        self._report.scored += len(messages)
        self._done += span.offsets
        self._progress(self._done, self._report.offsets)

    async def _answers(self, records: Sequence[Record]) -> list[Message]:
        loop = asyncio.get_running_loop()
        jobs: list[tuple[Record, Job]] = []
        now = time.monotonic()
        for record in records:
            try:
                request = _request(record)
            except Unanswerable as verdict:
                self._refuse(record, verdict)
                continue
            if request.task != self._version.task:
                self._report.other_tasks += 1
                continue
            # No deadline: the answer is of use whenever it comes.
            job = Job(request, "bulk", SERVICE, now, None, loop.create_future())
            jobs.append((record, job))
        self._engine.enter([job for _, job in jobs])
        messages = []
        for record, job in jobs:
            try:
                said = await job.verdict
            except Unanswerable as verdict:
                self._refuse(record, verdict)
                continue
            if said is not None:
                messages.append(self._message(record, job.request, said))
        return messages

    def _message(self, record: Record, request: KernelRequest, verdict: Verdict) -> Message:
        version = self._version
        place = (record.topic, record.partition, record.offset)
        result = msgspec.structs.replace(
            result_of(request, verdict), id=rescored_id(version.task, version.version, *place)
        )
        message = Message.of(RESCORED, result.thread.encode(), result, SERVICE)
        message.headers.append((HEADER_REQUEST_AT, ":".join(map(str, place)).encode()))
        return message

    def _refuse(self, record: Record, verdict: Unanswerable) -> None:
        report, name = self._report, str(verdict.error_class)
        report.refused[name] = report.refused.get(name, 0) + 1
        if len(report.refusals) < REFUSALS_KEPT:
            report.refusals.append(
                Refusal(
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    error_class=name,
                    reason=verdict.reason,
                )
            )


def _request(record: Record) -> KernelRequest:
    """The request that a record holds, if the kernel would answer it.

    Raises:
        Unanswerable: it would not.
    """
    at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
    request = decode(KernelRequest, record.value, record.headers, at)
    check_text(request)
    return request
