"""The catalogue on the cluster: `apply` makes the topics what they should be, `describe` looks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidPartitionsError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.topics import CATALOGUE, Topic
from streams import cluster
from streams.incremental_configs import IncrementalAlterConfigs
from streams.settings import Settings
from streams.topic_ends import topic_ends

_SETTLE_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Change:
    """What `apply` did to a topic."""

    topic: str
    action: Literal["created", "altered", "unchanged"]
    detail: str


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic of the catalogue as the cluster has it; `partitions` is 0 where it is missing."""

    topic: str
    partitions: int
    replication: int
    configs: dict[str, str]
    """Those that the catalogue owns."""
    earliest: int
    """First offsets, summed over partitions."""
    latest: int
    """Ends, summed over partitions; transaction markers count, open transactions too."""


class TopicError(RuntimeError):
    """The cluster would not make or alter a topic; the message says what to do."""


class RepartitionError(TopicError):
    """Topics have another number of partitions than asked, and records whose keys would move.

    `topics` holds (name, has, asked) of each.
    """

    def __init__(self, topics: list[tuple[str, int, int]]) -> None:
        what = "; ".join(f"{name} has {has}, asked for {asked}" for name, has, asked in topics)
        by_setting = {has for name, has, _ in topics if CATALOGUE[name].partitions is None}
        keep = f"Set HEADRACE_PARTITIONS={max(by_setting)} to go on with what is there, or b"
        super().__init__(
            f"Partitions cannot be changed: {what}. Kafka cannot take partitions away, and in a "
            "topic that carries records keys would move to other partitions, which breaks their "
            f"order and parts threads from their state. {keep if by_setting else 'B'}egin with "
            "empty topics (an embedded broker: --fresh; a cluster: delete these topics)."
        )
        self.topics = topics


@dataclass(frozen=True)
class _Seen:
    """A topic that exists, with leaders that lead."""

    partitions: int
    replication: int
    configs: dict[str, str]
    earliest: int
    latest: int


async def apply(settings: Settings) -> list[Change]:
    """Make the cluster's topics what the catalogue says; one change per topic, in its order.

    Missing topics are created, settings that differ are altered (no others are touched).
    A topic that never carried a record gets more partitions where more are asked for. Nothing
    is done at all where a topic would have to shrink, or to grow with records in it, because
    growth moves keys as well: RepartitionError. Replication of an existing topic is left as
    it is, and told. Calls may be repeated and may run at the same time. Returns when the
    cluster shows every topic with a leader on each partition.

    Raises TopicError where the cluster says no (rights, too few brokers for the replication).
    """
    changes: dict[str, Change] = {}
    deadline = time.monotonic() + _SETTLE_S
    client = cluster.admin(settings)
    await client.start()
    try:
        while True:
            seen = await _look(client)
            missing = [topic for topic in CATALOGUE.values() if topic.name not in seen]
            growing = _growing(settings, seen)
            differing = {
                name: wanted
                for name, has in seen.items()
                if (wanted := _differing(CATALOGUE[name], has))
            }
            if not missing and not growing and not differing:
                break
            if time.monotonic() > deadline:
                raise TopicError(
                    f"The topics did not settle within {_SETTLE_S:.0f} s; run the command again."
                )
            await _create(client, settings, missing, changes)
            await _grow(client, seen, growing, changes)
            await _alter(client, seen, differing, changes)
            await asyncio.sleep(_LOOK_AGAIN_S)
    finally:
        await client.close()
    return [
        changes.get(name)
        or Change(topic=name, action="unchanged", detail=_standing(settings, seen[name]))
        for name in CATALOGUE
    ]


async def describe(settings: Settings) -> list[TopicState]:
    """Every topic of the catalogue as the cluster has it, in the catalogue's order."""
    client = cluster.admin(settings)
    await client.start()
    try:
        seen = await _look(client)
    finally:
        await client.close()
    absent = _Seen(partitions=0, replication=0, configs={}, earliest=0, latest=0)
    return [TopicState(topic=name, **asdict(seen.get(name, absent))) for name in CATALOGUE]


async def _look(client: AIOKafkaAdminClient) -> dict[str, _Seen]:
    """The catalogue's topics that exist and are led on every partition, in its order."""
    listed: dict[str, list[dict[str, Any]]] = {
        # Asked for all and not by name: asking by name makes topics on some clusters.
        topic["topic"]: topic["partitions"]
        for topic in await client.describe_topics()
        if topic["topic"] in CATALOGUE
        and topic["partitions"]
        and all(part["leader"] >= 0 for part in topic["partitions"])
    }
    if not listed:
        return {}
    ends = await topic_ends(
        client,
        {
            name: {part["partition"]: part["leader"] for part in partitions}
            for name, partitions in listed.items()
        },
    )
    if not ends:
        return {}
    answers = await client.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, CATALOGUE[name].configs()) for name in ends]
    )
    seen = {}
    for code, message, _kind, name, entries in (
        resource for answer in answers for resource in answer.resources
    ):
        if code == UnknownTopicOrPartitionError.errno:
            continue  # not yet known to the broker that was asked
        _must(code, message, f"Settings of {name} cannot be read")
        seen[name] = _Seen(
            partitions=len(listed[name]),
            replication=max(len(part["replicas"]) for part in listed[name]),
            configs={entry[0]: str(entry[1]) for entry in entries},
            earliest=ends[name][0],
            latest=ends[name][1],
        )
    return {name: seen[name] for name in CATALOGUE if name in seen}


def _asked(settings: Settings, topic: Topic) -> int:
    return topic.partitions or settings.partitions


def _differing(topic: Topic, has: _Seen) -> dict[str, str]:
    return {
        name: value for name, value in topic.configs().items() if has.configs.get(name) != value
    }


def _growing(settings: Settings, seen: dict[str, _Seen]) -> dict[str, int]:
    """Topics to grow, and to how many partitions; RepartitionError where that may not be."""
    other = {
        name: asked
        for name, has in seen.items()
        if has.partitions != (asked := _asked(settings, CATALOGUE[name]))
    }
    refused = [
        (name, seen[name].partitions, asked)
        for name, asked in other.items()
        if asked < seen[name].partitions or seen[name].latest > 0
    ]
    if refused:
        raise RepartitionError(refused)
    return other


async def _create(
    client: AIOKafkaAdminClient,
    settings: Settings,
    missing: list[Topic],
    changes: dict[str, Change],
) -> None:
    if not missing:
        return
    answer = await client.create_topics(
        [
            NewTopic(
                topic.name,
                _asked(settings, topic),
                settings.replication,
                topic_configs=topic.configs(),
            )
            for topic in missing
        ]
    )
    for name, code, message in answer.topic_errors:
        if code == TopicAlreadyExistsError.errno:
            continue  # by another call, or by this one a moment ago
        _must(code, message, f"{name} cannot be created with replication {settings.replication}")
        changes[name] = Change(
            topic=name,
            action="created",
            detail=f"{_asked(settings, CATALOGUE[name])} partitions, "
            f"replication {settings.replication}",
        )


async def _grow(
    client: AIOKafkaAdminClient,
    seen: dict[str, _Seen],
    growing: dict[str, int],
    changes: dict[str, Change],
) -> None:
    for name, asked in growing.items():
        try:
            await client.create_partitions({name: NewPartitions(asked)})
        except InvalidPartitionsError:
            continue  # grown by another call; the next look tells
        _note(changes, name, f"partitions {seen[name].partitions} to {asked}")


async def _alter(
    client: AIOKafkaAdminClient,
    seen: dict[str, _Seen],
    differing: dict[str, dict[str, str]],
    changes: dict[str, Change],
) -> None:
    if not differing:
        return
    # aiokafka's own alter_configs replaces all settings of a topic, those of others included.
    answer = await client._send_request(IncrementalAlterConfigs(differing))  # noqa: SLF001
    for code, message, _kind, name in answer.responses:
        _must(code, message, f"Settings of {name} cannot be altered")
        for setting, value in differing[name].items():
            _note(changes, name, f"{setting} {seen[name].configs.get(setting)} to {value}")


def _note(changes: dict[str, Change], name: str, detail: str) -> None:
    """Add to what was done to a topic; said once though the cluster may take a while to show it."""
    before = changes.get(name)
    if before is None:
        changes[name] = Change(topic=name, action="altered", detail=detail)
    elif before.action == "altered" and detail not in before.detail:
        changes[name] = Change(topic=name, action="altered", detail=f"{before.detail}; {detail}")


def _standing(settings: Settings, has: _Seen) -> str:
    told = f"{has.partitions} partitions, replication {has.replication}"
    if has.replication != settings.replication:
        told += f" (asked for {settings.replication}: move replicas with Kafka's own tools)"
    return told


def _must(code: int, message: str | None, what: str) -> None:
    if code:
        error = for_code(code)
        raise TopicError(
            f"{what}: {message or error.description} ({error.__name__}). Check the rights of "
            "this user, and that HEADRACE_REPLICATION is at most the number of brokers."
        )
