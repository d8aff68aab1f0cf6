"""Who leads in a cluster: of a partition, or as the coordinator of a group or of transactions."""

from __future__ import annotations

import asyncio
from typing import Final

from schemas.ids import group_id
from schemas.topics import FEED_EVENTS, OUTBOX, REQUESTS, RESULTS
from streams import cluster
from streams.settings import Settings

GROUP: Final = "group of the kernel"
TRANSACTIONS: Final = "transactions of the kernel"
LED: Final = [
    *(topic.name for topic in (FEED_EVENTS, REQUESTS["standard"], RESULTS, OUTBOX)),
    GROUP,
    TRANSACTIONS,
]
"""What a leader can be asked for."""
_LOOK_S: Final = 0.5
_WHOLE_S: Final = 120.0


async def leading(settings: Settings, led: str, strength: float) -> tuple[int, str]:
    """Node that leads `led`, and of what exactly; `strength` in 0 to 1 chooses the partition.

    Raises KafkaError where the cluster does not say.
    """
    admin = cluster.admin(settings)
    await admin.start()
    try:
        partition = int(strength * settings.partitions)
        lane = f"{REQUESTS['standard'].name}:{partition}"
        if led == GROUP:
            return await admin.find_coordinator(group_id("kernel")), "coordinator of the group"
        if led == TRANSACTIONS:
            name = f"{group_id('kernel')}:{lane}"
            return await admin.find_coordinator(name, 1), f"coordinator of {name}"
        (topic,) = await admin.describe_topics([led])
        leaders = {one["partition"]: one["leader"] for one in topic["partitions"]}
        partition %= len(leaders)
        return leaders[partition], f"leader of {led}:{partition}"
    finally:
        await admin.close()


async def whole(settings: Settings) -> None:
    """Return when every replica of every partition is in sync.

    Raises TimeoutError, and KafkaError where the cluster does not say.
    """
    admin = cluster.admin(settings)
    await admin.start()
    try:
        async with asyncio.timeout(_WHOLE_S):
            while True:
                parts = [p for topic in await admin.describe_topics() for p in topic["partitions"]]
                if all(p["leader"] >= 0 and set(p["isr"]) == set(p["replicas"]) for p in parts):
                    return
                await asyncio.sleep(_LOOK_S)
    finally:
        await admin.close()
