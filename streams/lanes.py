"""The lanes of one service in one process: who owns which partition, and their lives.

Ownership (`streams.membership`) decides which lanes run; what a lane may commit is
decided by its producer's epoch alone, so a lane may work on through a rebalance that
leaves its partition here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Generic

from aiokafka.structs import TopicPartition

from schemas.ids import group_id
from streams.lane import Handler, Item, Lane, LaneStats
from streams.membership import heartbeat_s, membership
from streams.settings import Settings
from streams.together import is_cancelled, see
from streams.watchdog import Work, behind, watch

log = logging.getLogger(__name__)

MAX_BACKOFF_S: Final = 3.0
"""A broker that is back is found within this time."""


class Lanes(Generic[Item]):
    """Runs a lane for each partition that the group assigns to this process.

    `waits` tells whether the handler's answers wait for something that no new start would
    bring, a model say: then to stand still is right.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        handler: Handler[Item],
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._waits = waits
        self._topics = topics
        self._handler = handler
        self._heartbeat_s = heartbeat_s(settings)
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self.stats: dict[TopicPartition, LaneStats] = {}

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """Partitions whose lanes run here."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Take part in the group until cancelled; then close every lane and leave."""
        service = self._handler.service
        async with membership(self._settings, service, self._topics, self._own) as member:
            watching = asyncio.create_task(watch(self._work, self._settings.standstill_s))
            try:
                while True:
                    await member.beat()
                    for task in (watching, *self._tasks.values()):
                        if task.done():
                            see(task)  # it ends by a fault of ours alone
            finally:
                watching.cancel()
                await self._own(())

    async def _work(self) -> Work | None:
        """Each lane with lag by its committed offset; those that wait for answers as one.

        Of these a class or tenant may wait long while others are served. A process without
        lanes, of more than there are partitions, looks at the whole group.
        """
        found = await behind(self._settings, group_id(self._handler.service), self._topics)
        if found is None:
            return None
        if self._waits():
            return {}
        at = {
            TopicPartition(row.topic, row.partition): row.committed
            for row in found
            if row.topic in self._topics
        }
        if not self._tasks:
            return {"the group": tuple(sorted(at.items()))} if at else {}
        mine = {partition: offset for partition, offset in at.items() if partition in self._tasks}
        asked = {partition for partition in mine if self.stats[partition].awaits_answer}
        work: dict[Hashable, object] = {p: offset for p, offset in mine.items() if p not in asked}
        if asked:
            work["answers"] = sum(stats.commits for stats in self.stats.values())
        return work

    async def _own(self, partitions: Iterable[TopicPartition]) -> None:
        """Close lanes that are no longer ours, open those that are newly ours."""
        wanted = set(partitions)
        leaving = [self._tasks.pop(partition) for partition in set(self._tasks) - wanted]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        for partition in wanted - set(self._tasks):
            self._tasks[partition] = asyncio.create_task(
                self._keep(partition), name=f"lane {partition.topic}:{partition.partition}"
            )

    async def _keep(self, partition: TopicPartition) -> None:
        """Open a lane again and again, with backoff, for as long as it is ours."""
        stats = self.stats.setdefault(partition, LaneStats())
        backoff = self._heartbeat_s
        while True:
            commits = stats.commits
            try:
                await Lane(self._settings, partition, self._handler, stats).run()
            except Exception as error:  # noqa: BLE001  (whatever broke it, a new lane begins safely)
                log.warning("lane %s closed: %s: %s", partition, type(error).__name__, error)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                log.warning("lane %s closed: a client was cancelled from within", partition)
            backoff = (
                self._heartbeat_s if stats.commits > commits else min(backoff * 2, MAX_BACKOFF_S)
            )
            # At least a heartbeat: a zombie must learn that it lost the partition
            # before it opens again and fences the rightful owner.
            await asyncio.sleep(backoff * (1 + random.random() / 4))
