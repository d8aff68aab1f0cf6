"""The naive kernel: deliver results, then commit offsets, now and then."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from proof.chaos.subjects import IN, OUT, SERVICE, WORK_S
from schemas.ids import group_id
from streams import cluster
from streams.settings import Settings

COMMIT_S: Final = 1.0
"""Kafka's own default for automatic commits is 5 s."""


async def serve(settings: Settings) -> None:
    """Serve until cancelled."""
    consumer = cluster.consumer(
        settings,
        IN,
        group_id=group_id(SERVICE),
        auto_offset_reset="earliest",
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 6,
    )
    producer = cluster.producer(settings)
    await producer.start()
    await consumer.start()
    committed = time.monotonic()
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=100)
        await asyncio.sleep(WORK_S)
        deliveries = [
            await producer.send(OUT, record.value, record.key, headers=record.headers)
            for records in fetched.values()
            for record in records
        ]
        await asyncio.gather(*deliveries)
        if time.monotonic() - committed > COMMIT_S:
            await consumer.commit()
            committed = time.monotonic()
