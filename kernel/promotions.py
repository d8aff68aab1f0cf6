"""Promote and roll back: which version answers, changed by a person, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kernel import registry
from kernel.registry import Registry
from schemas.events import ModelVersion
from schemas.ids import model_key
from streams import cluster
from streams.settings import Settings

_TRANSACTIONAL_ID: Final = "headrace.models"
_VISIBLE_S: Final = 15.0


class UnknownVersionError(Exception):
    """There is no such version, or none to go back to."""


class PromotionRefusedError(Exception):
    """A version that must not, or need not, become live."""


async def promote(
    settings: Settings, task: str, version: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """Make `version` live; the changes made, the new live version first.

    Raises:
        UnknownVersionError: the registry has no such version.
        PromotionRefusedError: it is live already, or was refused by the gate.
    """
    found = await registry.read(settings)
    chosen = found.versions.get(model_key(task, version))
    if chosen is None:
        known = ", ".join(one.version for one in found.of_task(task)) or "none"
        raise UnknownVersionError(f"no version {version!r} of {task!r}; there are: {known}")
    live = found.live(task)
    if live is not None and live.version == version:
        raise PromotionRefusedError(f"{version} is live already")
    if chosen.state == "refused":
        raise PromotionRefusedError(
            f"{version} was refused: {chosen.reason}; train another version"
        )
    return await _announce(settings, found, chosen, reason, service)


async def roll_back(
    settings: Settings, task: str, reason: str, service: str
) -> Sequence[ModelVersion]:
    """Make the version live that was live before; the present one retires.

    Raises:
        UnknownVersionError: no version was live before.
    """
    found = await registry.read(settings)
    retired = [one for one in found.of_task(task) if one.state == "retired"]
    if not retired:
        raise UnknownVersionError(
            f"no version of {task!r} was live before; see `headrace models list`"
        )
    return await _announce(settings, found, retired[-1], reason, service)


async def _announce(
    settings: Settings, found: Registry, chosen: ModelVersion, reason: str, service: str
) -> Sequence[ModelVersion]:
    changes = registry.promotion(found, chosen, reason)
    producer = cluster.producer(settings, transactional_id=_TRANSACTIONAL_ID)
    await producer.start()
    try:
        async with producer.transaction():
            await registry.announce(producer, changes, service)
    finally:
        await producer.stop()
    await _until_visible(settings, changes)
    return changes


async def _until_visible(settings: Settings, changes: Sequence[ModelVersion]) -> None:
    """Return when a reader sees the changes.

    A commit is acknowledged before its markers are written: who looks at once may not see it yet.
    """
    async with asyncio.timeout(_VISIBLE_S):
        while True:
            seen = (await registry.read(settings)).versions
            if all(seen.get(model_key(one.task, one.version)) == one for one in changes):
                return
            await asyncio.sleep(0.05)
