"""Membership in a consumer group for its assignment alone: who owns what, and no record read.

A subscribed consumer takes part in the group; its partitions stay paused, so it fetches
nothing and commits nothing. Ownership only decides who works. What a worker may write is
decided by the epoch of its producer (docs/delivery.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from schemas.ids import group_id
from streams import cluster
from streams.assignor import EachTopicSticky
from streams.closing import close
from streams.settings import Settings

_HEARTBEATS_PER_SESSION: Final = 6
_POLL_MS: Final = 500

Own = Callable[[Collection[TopicPartition]], Awaitable[None]]
"""Called with everything that is owned from now on, whenever the group has shared it out anew."""


def heartbeat_s(settings: Settings) -> float:
    """Time between two heartbeats, in seconds: within it a zombie learns that it was replaced."""
    return settings.session_timeout_ms / _HEARTBEATS_PER_SESSION / 1000


class Member:
    """A member of the group, as long as `beat` is called again and again."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def beat(self) -> None:
        """Show the group that we live; takes half a second."""
        await self._consumer.getmany(timeout_ms=_POLL_MS)  # everything is paused: it gives nothing


@asynccontextmanager
async def membership(
    settings: Settings, service: str, topics: Sequence[str], own: Own
) -> AsyncIterator[Member]:
    """Take part in the group of `service` over `topics`; on the way out leave it at once."""
    consumer = cluster.consumer(
        settings,
        group_id=group_id(service),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=int(heartbeat_s(settings) * 1000),
        partition_assignment_strategy=(EachTopicSticky,),
    )
    consumer.subscribe(topics, listener=_Listener(consumer, own))
    await consumer.start()
    try:
        yield Member(consumer)
    finally:
        await close(consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Any, own: Own) -> None:
        self._consumer = consumer
        self._own = own

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing: the assignment that follows says what is still ours."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Own exactly what the group gave us."""
        self._consumer.pause(*assigned)
        await self._own(assigned)
