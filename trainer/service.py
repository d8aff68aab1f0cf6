"""The trainer service: of all trainers of a cluster one works, the others stand by.

The consumer group of the labels elects: whoever is given the first partition works, on all of
them. Election only decides who tries; that two never write is decided by the producer's epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from schemas.ids import group_id
from schemas.topics import LABELS
from streams import cluster
from streams.running import run_service
from streams.settings import Settings
from trainer import recipe
from trainer.term import SERVICE, Term

log = logging.getLogger(__name__)

_SEAT: Final = TopicPartition(LABELS.name, 0)
_HEARTBEATS_PER_SESSION: Final = 6
_POLL_MS: Final = 500


def run(settings: Settings) -> None:
    """Run the trainer until SIGTERM or SIGINT.

    Raises:
        TrainerError: the settings name a recipe that there is not.
    """
    recipe.load(settings.recipe)
    run_service(lambda: serve(settings))


async def serve(settings: Settings) -> None:
    """Stand for election, and work while elected, until cancelled."""
    elected = asyncio.Event()
    member = cluster.consumer(
        settings,
        group_id=group_id(SERVICE),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // _HEARTBEATS_PER_SESSION,
        partition_assignment_strategy=(StickyPartitionAssignor,),
    )
    member.subscribe([LABELS.name], listener=_Listener(member, elected))
    await member.start()
    work = asyncio.create_task(_work_while(settings, elected))
    try:
        while not work.done():
            # Everything is paused: the call only shows the group that we live.
            await member.getmany(timeout_ms=_POLL_MS)
        await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(member.stop(), timeout=5)


async def _work_while(settings: Settings, elected: asyncio.Event) -> None:
    """One term after another while `elected` is set; a term ends when it is cleared."""
    heartbeat_s = settings.session_timeout_ms / _HEARTBEATS_PER_SESSION / 1000
    while True:
        await elected.wait()
        term = asyncio.create_task(Term(settings).run())
        try:
            while elected.is_set() and not term.done():
                await asyncio.wait([term], timeout=heartbeat_s)
        finally:
            term.cancel()
            (ended,) = await asyncio.gather(term, return_exceptions=True)
        if isinstance(ended, Exception):
            log.warning("the trainer begins anew: %s: %s", type(ended).__name__, ended)
        # A trainer that was replaced must learn so before it opens again and fences its heir.
        await asyncio.sleep(heartbeat_s)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Any, elected: asyncio.Event) -> None:
        self._member = member
        self._elected = elected

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing: the assignment that follows says whether the seat is still ours."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """The seat is the first partition."""
        self._member.pause(*assigned)
        if _SEAT in assigned:
            self._elected.set()
        else:
            self._elected.clear()
