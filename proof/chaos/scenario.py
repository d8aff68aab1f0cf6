"""What is fed into the system under attack, and what its records mean."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
import orjson
from aiokafka.admin import NewTopic

from proof.chaos.checker import Check
from proof.chaos.feeder import Event
from proof.chaos.history import Announced, Isolation, Seen, Source, Stage
from proof.chaos.observer import Observer
from proof.chaos.subjects import IN, OUT
from streams import cluster
from streams.message import Message
from streams.settings import Settings


class Scenario(Protocol):
    """A system under attack, seen through its topics."""

    stages: list[Stage]
    feed: str
    """Topic that is fed."""
    watched: list[str]
    """Topics read during the faults."""
    topics: list[str]
    """Topics read at the end."""
    checks: tuple[Check, ...]
    """Checks beyond those of delivery."""

    def event(self, number: int) -> Event:
        """The event of this number: the same for the same seed."""

    def poison(self, number: int, how: str = "") -> Event:
        """An event that nothing can answer; `how` names a kind of the scenario's own."""

    def decode(self, record: Any, reader: str, isolation: Isolation, final: bool) -> Seen:
        """What a record says."""

    async def everything(self, observer: Observer) -> list[Seen | Announced]:
        """All that readers of either isolation level see at the end."""


class Copying:
    """The subjects: each record of `chaos.in` is owed one copy on `chaos.out`."""

    def __init__(self, seed: int, keys: int = 24) -> None:
        self.stages = [Stage("copy", IN)]
        self.feed = IN
        self.watched = [OUT]
        self.topics = [IN, OUT]
        self.checks: tuple[Check, ...] = ()
        self._seed = seed
        self._keys = keys

    def event(self, number: int) -> Event:
        """A numbered record."""
        name = f"{self._seed}-{number}"
        key = f"k{number * 7919 % self._keys}".encode()
        return Event(name, Message(IN, key, orjson.dumps({"id": name}), []))

    def poison(self, number: int, how: str = "") -> Event:  # noqa: ARG002  (a scenario's shape)
        """Copying knows no poison: a plain record under a name of its own."""
        name = f"{self._seed}-extra-{number}"
        return Event(name, Message(IN, name.encode(), orjson.dumps({"id": name}), []))

    def decode(self, record: Any, reader: str, isolation: Isolation, final: bool) -> Seen:
        """A record by the id in its body."""
        return Seen(
            reader=reader,
            isolation=isolation,
            final=final,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            id=orjson.loads(record.value)["id"],
            key=record.key.decode(),
            at=time_of(record),
            stage="copy" if record.topic == OUT else "",
            verdict="result" if record.topic == OUT else "",
        )

    async def everything(self, observer: Observer) -> list[Seen | Announced]:
        """Copies name their source by its id, which is looked up."""
        raw = await observer.everything([IN, OUT], "uncommitted")
        seen = await observer.everything([IN, OUT], "committed")
        source = {
            one.id: Source(one.topic, one.partition, one.offset) for one in raw if one.topic == IN
        }
        return [
            *raw,
            *(
                msgspec.structs.replace(one, source=source.get(one.id)) if one.topic == OUT else one
                for one in seen
            ),
        ]


def time_of(record: Any) -> int:
    """The timestamp of an aiokafka record or of a `streams.reading.Record`."""
    stamp: int = record.timestamp_ms if hasattr(record, "timestamp_ms") else record.timestamp
    return stamp


async def make_topics(settings: Settings, names: list[str]) -> None:
    """Make the topics of the subjects, and wait until they answer."""
    admin = cluster.admin(settings)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in names])
        async with asyncio.timeout(30):
            while True:
                if set(names) <= set(await admin.list_topics()):
                    return
                await asyncio.sleep(0.1)
    finally:
        await admin.close()
