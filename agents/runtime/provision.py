"""Topics before the start: those of others are awaited, the agent's changelog is made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from agents.runtime.state import ZOMBIE_LIFE_MS
from streams import cluster
from streams.settings import Settings

log = logging.getLogger(__name__)

_ASK_EVERY_S: Final = 0.5
_SAY_EVERY: Final = 20


async def wait_for_topics(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """Wait until every topic exists; returns their partition counts.

    A Faust worker silently ignores a source topic that does not exist when it starts.
    """
    wanted = sorted(set(names))
    asked = 0
    while True:
        try:
            counts = await _partitions(settings, wanted)
        except (KafkaError, OSError) as error:
            missing, reason = wanted, f"no answer from {settings.bootstrap}: {error}"
        else:
            missing = [name for name in wanted if not counts.get(name)]
            reason = f"no topic {', '.join(missing)}; `headrace topics apply` makes them"
            if not missing:
                return counts
        if asked % _SAY_EVERY == 0:
            log.warning("waiting: %s", reason)
        asked += 1
        await asyncio.sleep(_ASK_EVERY_S)


async def _partitions(settings: Settings, names: list[str]) -> dict[str, int]:
    admin = cluster.admin(settings)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        found = await admin.describe_topics([name for name in names if name in existing])
        return {topic["topic"]: len(topic["partitions"]) for topic in found}
    finally:
        await admin.close()


async def make_changelog(settings: Settings, name: str, partitions: int) -> None:
    """Make the changelog, or grow it to the source's partitions.

    Raises:
        KafkaError: the cluster refused.
        ValueError: the changelog has more partitions than the source.
    """
    admin = cluster.admin(settings)
    await admin.start()
    try:
        existing = name in set(await admin.list_topics())
        if not existing:
            await _create(admin, settings, name, partitions)
            return
        (found,) = await admin.describe_topics([name])
        have = len(found["partitions"])
        if have > partitions:
            msg = f"{name} has {have} partitions, but its source topic has {partitions}"
            raise ValueError(msg)
        if have < partitions:
            await admin.create_partitions({name: NewPartitions(total_count=partitions)})
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, settings: Settings, name: str, partitions: int
) -> None:
    configs = {
        "cleanup.policy": "compact",
        # A zombie's late write must not replace a newer state before it is noticed.
        "min.compaction.lag.ms": str(ZOMBIE_LIFE_MS),
        "segment.ms": str(ZOMBIE_LIFE_MS),
        "max.message.bytes": str(4 * 1_048_576),
    }
    topic = NewTopic(name, partitions, settings.replication, topic_configs=configs)
    response: Any = await admin.create_topics([topic])
    for _, code, *_ in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another worker was faster
            raise error(f"cannot create {name}")
