"""First and end offsets of topics by ListOffsets, answered by the leaders themselves.

A leader that metadata names may not lead yet, for a moment after its topic was made; that it
answers here is the proof that it does. aiokafka's consumer has the same question, but waits and
logs an error until each partition answers.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.offset import OffsetRequest

_EARLIEST: Final = -2
_LATEST: Final = -1
_READ_UNCOMMITTED: Final = 0
_FROM_A_CLIENT: Final = -1


async def topic_ends(
    client: AIOKafkaAdminClient, leaders: dict[str, dict[int, int]]
) -> dict[str, tuple[int, int]]:
    """(first, end) of each topic, summed over its partitions; records in open transactions count.

    `leaders` maps topic to partition to node. Topics of which a leader does not answer as one
    are left out.
    """
    first, end = await asyncio.gather(
        _ask(client, leaders, _EARLIEST), _ask(client, leaders, _LATEST)
    )
    return {
        topic: (first[topic], end[topic]) for topic in leaders if topic in first and topic in end
    }


async def _ask(
    client: AIOKafkaAdminClient, leaders: dict[str, dict[int, int]], which: int
) -> dict[str, int]:
    by_node: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for topic, partitions in leaders.items():
        for partition, node in partitions.items():
            by_node[node][topic].append((partition, which))
    answers: list[Any] = await asyncio.gather(
        *(
            client._send_request_to_node(  # noqa: SLF001  (aiokafka has no such call)
                node, OffsetRequest(_FROM_A_CLIENT, _READ_UNCOMMITTED, list(topics.items()))
            )
            for node, topics in by_node.items()
        )
    )
    totals: dict[str, int] = defaultdict(int)
    refused = set()
    for answer in answers:
        for topic, partitions in answer.topics:
            for _partition, code, _timestamp, offset, *_epoch in partitions:
                totals[topic] += offset
                if code:
                    refused.add(topic)
    return {topic: total for topic, total in totals.items() if topic not in refused}
