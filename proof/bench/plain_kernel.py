"""The kernel without transactions, for one comparison alone: `python -m proof.bench.plain_kernel`.

All of it is the product's but the producer of its lanes: results go out by an idempotent
producer, and the offset is committed after they are acknowledged. That is at least once:
what a process dies between is said again. It is never a setting of the product.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final
from unittest.mock import patch

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from kernel import service
from schemas.ids import group_id
from streams import cluster, lanes
from streams.lane import Handler, Item, Lane, LaneStats
from streams.settings import Settings

GROUP: Final = f"{group_id(service.SERVICE)}.plain"
"""Of its offsets: a group without members, so that anybody may commit."""


class PlainProducer:
    """What a lane asks of its producer, without a transaction."""

    def __init__(self, settings: Settings, partition: TopicPartition) -> None:
        self._partition = partition
        self._producer = cluster.producer(settings)
        self._offsets = cluster.consumer(settings, group_id=GROUP)
        self._next: dict[TopicPartition, OffsetAndMetadata] = {}

    async def start(self) -> None:
        """Connect; nobody is fenced."""
        await self._producer.start()
        await self._offsets.start()
        self._offsets.assign([self._partition])

    async def stop(self) -> None:
        """Close both connections."""
        await self._offsets.stop()
        await self._producer.stop()

    async def send(self, *arguments: Any, **options: Any) -> Any:
        """Hand over one record."""
        return await self._producer.send(*arguments, **options)

    async def begin_transaction(self) -> None:
        """Nothing begins."""

    async def send_offsets_to_transaction(
        self,
        offsets: dict[TopicPartition, OffsetAndMetadata],
        group: str,  # noqa: ARG002  (it has one of its own)
    ) -> None:
        """Keep the offset until the results are acknowledged."""
        self._next = offsets

    async def commit_transaction(self) -> None:
        """Commit the offset by itself."""
        await self._offsets.commit(self._next)


class PlainLane(Lane[Item]):
    """A lane over `PlainProducer`."""

    def __init__(
        self,
        settings: Settings,
        partition: TopicPartition,
        handler: Handler[Item],
        stats: LaneStats,
    ) -> None:
        super().__init__(settings, partition, handler, stats)
        self._group = GROUP
        self._producer = PlainProducer(settings, partition)


def main() -> None:
    """Run the kernel over such lanes until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s plain-kernel %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    with patch.object(lanes, "Lane", PlainLane):
        service.run(Settings())


if __name__ == "__main__":
    main()
