"""The lanes of one service in one process: who owns which partition, and their lives.

A subscribed consumer serves membership only: it takes part in the group, its
partitions stay paused, and it fetches nothing. Ownership decides which lanes run;
what a lane may commit is decided by its producer's epoch alone, so a lane may
work on through a rebalance that leaves its partition here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from schemas.ids import group_id
from streams import cluster
from streams.lane import Handler, Item, Lane, LaneStats
from streams.settings import Settings

log = logging.getLogger(__name__)

HEARTBEATS_PER_SESSION: Final = 6
MEMBERSHIP_POLL_MS: Final = 1_000
MAX_BACKOFF_S: Final = 3.0
"""A broker that is back is found within this time."""


class Lanes(Generic[Item]):
    """Runs a lane for each partition that the group assigns to this process."""

    def __init__(self, settings: Settings, topics: Sequence[str], handler: Handler[Item]) -> None:
        self._settings = settings
        self._topics = topics
        self._handler = handler
        self._heartbeat_s = settings.session_timeout_ms / HEARTBEATS_PER_SESSION / 1000
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self.stats: dict[TopicPartition, LaneStats] = {}

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """Partitions whose lanes run here."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Take part in the group until cancelled; then close every lane and leave."""
        member = cluster.consumer(
            self._settings,
            group_id=group_id(self._handler.service),
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=int(self._heartbeat_s * 1000),
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        member.subscribe(self._topics, listener=_Listener(self, member))
        await member.start()
        try:
            while True:
                # Everything is paused: the call only shows the group that we live.
                await member.getmany(timeout_ms=MEMBERSHIP_POLL_MS)
                for task in self._tasks.values():
                    if task.done():
                        task.result()  # a lane's keeper ends by a fault of ours alone
        finally:
            await self._own(())
            with contextlib.suppress(Exception):
                await asyncio.wait_for(member.stop(), timeout=5)

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
                log.warning("lane %s closed: %s", partition, _cause_of(error))
            backoff = (
                self._heartbeat_s if stats.commits > commits else min(backoff * 2, MAX_BACKOFF_S)
            )
            # At least a heartbeat: a zombie must learn that it lost the partition
            # before it opens again and fences the rightful owner.
            await asyncio.sleep(backoff * (1 + random.random() / 4))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, lanes: Lanes[Any], member: Any) -> None:
        self._lanes = lanes
        self._member = member

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing: the assignment that follows says which lanes go."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Own exactly what the group gave us."""
        self._member.pause(*assigned)
        await self._lanes._own(assigned)  # noqa: SLF001  (the listener is a part of Lanes)


def _cause_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
