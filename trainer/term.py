"""A term: what the one working trainer does from its first commit to its last.

Opening has the order of a lane (`streams.lane`): the producer first, which fences a former
trainer; then the committed offsets, which from then on nobody else can move; then the labels.
Verdicts, dead letters and offsets commit in one transaction: a trainer that is killed at any
point leaves either nothing of a verdict or all of it, and its run goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from kernel import registry
from schemas.events import ModelVersion
from schemas.ids import group_id
from schemas.tasks import TASKS
from schemas.topics import LABELS
from streams import cluster
from streams.closing import close
from streams.committed import committed
from streams.dead_letter import dead_letter
from streams.reading import partitions
from streams.settings import Settings
from trainer import backlog, course, definitions, labels
from trainer.backlog import Backlog
from trainer.counters import TrainerStats
from trainer.course import Finished
from trainer.errors import TrainerError

log = logging.getLogger(__name__)
T = TypeVar("T")

SERVICE: Final = "trainer"
_POLL_MS: Final = 250
_RETRY_S: Final = 5.0
_MAX_RETRY_S: Final = 60.0


class Term:
    """One time in office of this process."""

    def __init__(self, settings: Settings, stats: TrainerStats) -> None:
        self._settings = settings
        self._stats = stats
        self._group = group_id(SERVICE)
        self._producer = cluster.producer(
            settings,
            transactional_id=self._group,
            transaction_timeout_ms=settings.transaction_timeout_ms,
        )
        self._consumer = cluster.consumer(settings, auto_offset_reset="earliest")
        self._committed: dict[TopicPartition, int] = {}
        self.waits = False
        """Whether all labels are read, and too few of them, or too fresh ones, to begin."""
        self.tries = 0
        """How often something failed that may pass."""

    async def run(self) -> None:
        """Learn from labels as they come, until cancelled or replaced.

        Raises:
            Exception: what ended the term; the next one begins at the committed offsets.
        """
        try:
            await self._open()
            while True:
                await self._learn(await self._wait_for_labels())
        finally:
            await close(self._consumer, self._producer)

    async def _open(self) -> None:
        await self._producer.start()  # returns when a former trainer is fenced
        await definitions.announce(self._producer, TASKS.values(), SERVICE)
        parts = await partitions(self._settings, [LABELS.name])
        admin = cluster.admin(self._settings)
        await admin.start()
        try:
            found = await committed(admin, self._group, parts)
        finally:
            await admin.close()
        await self._consumer.start()
        self._consumer.assign(parts)
        begins = await self._consumer.beginning_offsets(parts)
        for part in parts:
            at = found[part].offset if part in found else -1
            self._committed[part] = max(at, begins[part])
            self._consumer.seek(part, self._committed[part])
        log.info("learning from %s", labels.describe(backlog.ranges(begins, self._committed)))

    async def _wait_for_labels(self) -> Backlog:
        waiting = Backlog(self._settings)
        while not waiting.is_due():
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            for records in fetched.values():
                waiting.take(records)
            self.waits = not fetched
        self.waits = False
        return waiting

    async def _learn(self, waiting: Backlog) -> None:
        """Train every task that the new labels are about; then pass these labels."""
        parts = list(self._committed)
        begins = await self._consumer.beginning_offsets(parts)
        ends = {part: await self._consumer.position(part) for part in parts}
        ranges = backlog.ranges(begins, ends)
        since = {str(part.partition): offset for part, offset in self._committed.items()}
        records = await self._until_it_works(lambda: labels.read(self._settings, ranges))
        finished: list[Finished] = []
        for name in _tasks(waiting, records):
            if name not in TASKS:
                log.warning("nothing is learned for the unknown task %r", name)
                continue
            task = TASKS[name]
            finished.append(
                await self._until_it_works(
                    lambda task=task: course.take(  # type: ignore[misc]
                        self._settings,
                        task,
                        ranges=ranges,
                        since=since,
                        records=records,
                        announce=self._announce,
                    )
                )
            )
        await self._commit(waiting, finished, ends)
        for one in finished:
            await course.close(self._settings, one)

    async def _announce(self, version: ModelVersion) -> None:
        async with self._producer.transaction():
            await registry.announce(self._producer, [version], SERVICE)

    async def _commit(
        self, waiting: Backlog, finished: Sequence[Finished], ends: dict[TopicPartition, int]
    ) -> None:
        """Verdicts, dead letters and offsets in one step."""
        async with self._producer.transaction():
            for one in finished:
                await registry.announce(self._producer, one.changes, SERVICE)
            for record, verdict in waiting.poison:
                delivery = await dead_letter(record, verdict, SERVICE, {}).send(self._producer)
                await delivery
            await self._producer.send_offsets_to_transaction(
                {part: OffsetAndMetadata(offset, "") for part, offset in ends.items()}, self._group
            )
        self._committed = ends
        self._stats.learned(finished, waiting.waiting, waiting.poison)

    async def _until_it_works(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again, slower and slower, what a mended disk, store or network would let pass."""
        pause = _RETRY_S
        while True:
            try:
                return await attempt()
            except TrainerError as error:
                log.error("%s (trying again in %.0f s)", error, pause)  # noqa: TRY400
            self.tries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RETRY_S)


def _tasks(waiting: Backlog, records: Sequence[Any]) -> list[str]:
    """Tasks of the new labels, and of the examples that were taken back."""
    names = set(waiting.by_task)
    if waiting.withdrawn:
        for task in TASKS:
            said = {key for key, row in labels.rows(records, task) if row is not None}
            if said & waiting.withdrawn:
                names.add(task)
    return sorted(names)
