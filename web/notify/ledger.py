"""The record of attempts: who may write it, and what it says after a restart.

One owner writes at a time: its transactional producer fences the one before it, and only then
are the topic and the offsets read. Who was fenced can claim nothing, so it can send nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from schemas.events import Delivery
from schemas.ids import group_id
from schemas.topics import ALERTS, DELIVERIES
from streams import cluster, reading
from streams.closing import close
from streams.committed import committed
from streams.message import Message
from streams.settings import Settings
from web.live import decode_record

SERVICE = "notify"


class Ledger:
    """What became of each delivery; `write` returns when the record of it is committed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group = group_id(SERVICE)
        self._one_at_a_time = asyncio.Lock()
        self._producer = cluster.producer(
            settings,
            transactional_id=self._group,
            transaction_timeout_ms=settings.transaction_timeout_ms,
        )

    async def open(self) -> tuple[dict[str, Delivery], dict[TopicPartition, int]]:
        """Fence the former owner; the latest record of each delivery, and the group's offsets."""
        await self._producer.start()
        latest: dict[str, Delivery] = {}
        async for record in reading.read(self._settings, [DELIVERIES.name]):
            delivery = decode_record(Delivery, record)
            if delivery is not None:
                latest[delivery.id] = delivery
        admin = cluster.admin(self._settings)
        await admin.start()
        try:
            found = await committed(admin, self._group)
        finally:
            await admin.close()
        return latest, {part: one.offset for part, one in found.items() if part[0] == ALERTS.name}

    async def write(
        self,
        deliveries: Sequence[Delivery],
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Commit the records, and the group's offsets with them.

        Raises:
            KafkaError: nothing of it is committed; fenced, or the cluster is away.
        """
        async with self._one_at_a_time:
            await self._producer.begin_transaction()
            sends = [
                await Message.of(DELIVERIES, one.id.encode(), one, SERVICE).send(self._producer)
                for one in deliveries
            ]
            # aiokafka commits although a send has failed: each must be seen to succeed first.
            # Offsets come after that, as in a lane.
            await asyncio.gather(*sends)
            if offsets:
                await self._producer.send_offsets_to_transaction(dict(offsets), self._group)
            await self._producer.commit_transaction()

    async def close(self) -> None:
        """End; an open transaction is aborted by the next owner."""
        await close(self._producer)
