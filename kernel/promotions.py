"""Moves of a version from state to state, each in one transaction that only one writer makes.

A person and the roll-out move versions by the same way: take the one transactional id, which
fences whoever held it; read the registry; decide; write. What somebody else has moved since
one looked is therefore seen, and who was fenced between reading and writing writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from kernel import registry
from kernel.registry import Registry
from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.topics import MODELS
from streams import cluster, reading
from streams.closing import close
from streams.settings import Settings

_TRANSACTIONAL_ID: Final = "headrace.models"
_VISIBLE_S: Final = 15.0
_ATTEMPTS: Final = 5

Decide = Callable[[Registry], Sequence[ModelVersion]]
"""From the registry as it stands to the changes to make; none: leave it."""


class UnknownVersionError(Exception):
    """There is no such version, or none to go back to."""


class PromotionRefusedError(Exception):
    """A move that must not, or need not, be made."""


def find(registered: Registry, task: str, version: str) -> ModelVersion:
    """A version of a task, whatever its state.

    Raises:
        UnknownVersionError: the registry has no such version.
    """
    found = registered.versions.get(model_key(task, version))
    if found is None:
        known = ", ".join(one.version for one in registered.of_task(task)) or "none"
        raise UnknownVersionError(f"no version {version!r} of {task!r}; there are: {known}")
    return found


async def promote(
    settings: Settings, task: str, version: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """Make `version` live; the changes made, the new live version first.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live already, or was refused.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        return registry.promotion(known, _movable(known, task, version), reason)

    return await change(settings, decide, service)


async def shadow(
    settings: Settings, task: str, version: str, reason: str, service: str, *, held: bool = False
) -> Sequence[ModelVersion]:
    """Let `version` score what the live one answers, unheard; `held`: until a person moves it on.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live, or was refused.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        return [registry.moved(_movable(known, task, version), "shadow", reason, held=held)]

    return await change(settings, decide, service)


async def canary(
    settings: Settings,
    task: str,
    version: str,
    reason: str,
    service: str,
    *,
    share: float,
    held: bool = False,
) -> Sequence[ModelVersion]:
    """Let `version` answer a share of the threads, in (0, 1]; `held`: until a person moves it on.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live or was refused, another canary is being tried, or
            nothing is live that could answer the other threads.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        chosen = _movable(known, task, version)
        other = known.canary(task)
        if other is not None and other.version != version:
            raise PromotionRefusedError(
                f"{other.version} is the canary of {task}: promote or refuse it first"
            )
        if known.live(task) is None:
            raise PromotionRefusedError(
                f"no version of {task} is live: headrace models promote {version} --task {task}"
            )
        return [registry.moved(chosen, "canary", reason, share=share, held=held)]

    return await change(settings, decide, service)


async def standby(
    settings: Settings, task: str, version: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """Let `version` answer requests that name a target, beside the live one.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live, or was refused.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        return [registry.moved(_movable(known, task, version), "standby", reason)]

    return await change(settings, decide, service)


async def refuse(
    settings: Settings, task: str, version: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """End the trial of `version`; it answers nothing from now on.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live, or was refused before.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        return [registry.moved(_movable(known, task, version), "refused", reason)]

    return await change(settings, decide, service)


async def roll_back(
    settings: Settings, task: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """Make the version live that was live before; the present one retires.

    Raises:
        UnknownVersionError: no version was live before.
    """

    def decide(known: Registry) -> Sequence[ModelVersion]:
        retired = known.in_state(task, "retired")
        if not retired:
            raise UnknownVersionError(
                f"no version of {task!r} was live before; see `headrace models list`"
            )
        return registry.promotion(known, retired[-1], reason)

    return await change(settings, decide, service)


async def history(settings: Settings, task: str | None = None) -> list[ModelVersion]:
    """Every state that versions had, oldest first; compaction forgets those of long ago."""
    found = []
    async for record in reading.read(settings, [MODELS.name]):
        at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
        try:
            one = decode(ModelVersion, record.value, record.headers, at)
        except Unanswerable:
            continue
        if task in {None, one.task}:
            found.append(one)
    return found


async def change(settings: Settings, decide: Decide, service: str) -> Sequence[ModelVersion]:
    """Make the changes that `decide` makes of the registry; returns when readers see them.

    Raises:
        Exception: what `decide` raises, and nothing is changed.
        ProducerFenced: others kept changing the registry at the same time.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return await _change(settings, decide, service)
        except (ProducerFenced, InvalidProducerEpoch):
            if attempt + 1 == _ATTEMPTS:
                raise
        except KafkaError as error:
            # aiokafka gives the fencing met by a commit as the cause of a general error.
            if attempt + 1 == _ATTEMPTS or not isinstance(error.__cause__, ProducerFenced):
                raise
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


async def _change(settings: Settings, decide: Decide, service: str) -> Sequence[ModelVersion]:
    producer = cluster.producer(settings, transactional_id=_TRANSACTIONAL_ID)
    try:
        await producer.start()  # returns when a former writer is fenced, its transaction ended
        changes = decide(await registry.read(settings))
        if changes:
            async with producer.transaction():
                await registry.announce(producer, changes, service)
    finally:
        await close(producer)
    await _until_visible(settings, changes)
    return changes


def _movable(known: Registry, task: str, version: str) -> ModelVersion:
    chosen = find(known, task, version)
    if chosen.state == "live":
        raise PromotionRefusedError(f"{version} is live already")
    if chosen.state == "refused":
        raise PromotionRefusedError(
            f"{version} was refused: {chosen.reason}; train another version"
        )
    return chosen


async def _until_visible(settings: Settings, changes: Sequence[ModelVersion]) -> None:
    """Return when a reader sees the changes.

    A commit is acknowledged before its markers are written: who looks at once may not see it yet.
    """
    async with asyncio.timeout(_VISIBLE_S):
        while True:
            seen = (await registry.read(settings)).versions
            now = (seen.get(model_key(one.task, one.version)) for one in changes)
            if all(
                found is not None and found.changed_at >= one.changed_at
                for found, one in zip(now, changes, strict=True)
            ):
                return
            await asyncio.sleep(0.05)
