"""Committed offsets of a group, read so that an error is never taken for "nothing committed".

The answer to OffsetFetch carries an error for the whole group beside its partitions, and
aiokafka (0.14) looks at the partitions alone. A coordinator that is still loading its log, or
is one no more, then looks like one of a group that has never committed: whoever believes that
begins at the first record and does everything again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

T = TypeVar("T")

_COORDINATOR_S: Final = 30.0
_ASK_AGAIN_S: Final = 0.1
_OF_A_GROUP: Final = 0


async def committed(
    asking: Any, group: str, partitions: Iterable[TopicPartition] | None = None
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offset and metadata of each partition in which the group has committed something.

    `asking` is a started client of aiokafka, consumer or admin; without `partitions` all are
    meant.

    Raises:
        KafkaError: the group's coordinator does not say, also when asked again for a while.
    """
    client = asking._client  # noqa: SLF001  (aiokafka has no call that sees the error)
    wanted: defaultdict[str, list[int]] = defaultdict(list)
    for topic, partition in partitions or ():
        wanted[topic].append(partition)
    topics = None if partitions is None else list(wanted.items())

    async def ask() -> dict[TopicPartition, OffsetAndMetadata]:
        try:
            return await _offsets(client, await _coordinator(client, group), group, topics)
        except KafkaError:
            await client.force_metadata_update()  # it may not know the new coordinator's node
            raise

    return await patiently(ask)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to `ask`, asked again while the groups' coordinator is still coming up.

    Raises:
        KafkaError: it does not come up, or refuses.
    """
    deadline = asyncio.get_running_loop().time() + _COORDINATOR_S
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_ASK_AGAIN_S)


async def _coordinator(client: Any, group: str) -> int:
    answer = await client.send(client.get_random_node(), FindCoordinatorRequest(group, _OF_A_GROUP))
    _refuse(answer.error_code, f"the coordinator of {group} is not known")
    return int(answer.coordinator_id)


async def _offsets(
    client: Any, node: int, group: str, topics: list[tuple[str, list[int]]] | None
) -> dict[TopicPartition, OffsetAndMetadata]:
    answer = await client.send(node, OffsetFetchRequest(group, topics))
    _refuse(answer.error_code, f"node {node} does not say where {group} stands")
    found = {}
    for topic, parts in answer.topics:
        for partition, offset, metadata, code in parts:
            _refuse(code, f"node {node} does not say where {group} stands in {topic}:{partition}")
            if offset >= 0:
                found[TopicPartition(topic, partition)] = OffsetAndMetadata(offset, metadata)
    return found


def _refuse(code: int, what: str) -> None:
    if code:
        raise for_code(code)(what)
