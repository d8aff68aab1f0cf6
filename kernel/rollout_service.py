"""The roll-out service: watches versions on trial and moves them on, or refuses them.

It keeps nothing: a stage began when the registry says so, and what was seen since then is read
from the topics again, so a killed one goes on where it was. Any number may run: each decides by
the same topics, and `kernel.promotions` lets one of them write, on the registry as it then is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from kernel import promotions, registry, rollout
from kernel.evidence import Evidence
from kernel.registry import Registry
from kernel.rollout import Decision
from schemas.envelope import Position, decode
from schemas.errors import Unanswerable
from schemas.events import KernelResult, LabelledExample, ModelVersion, ShadowScore
from schemas.ids import model_key
from schemas.topics import LABELS, RESULTS, SHADOW
from streams import reading
from streams.exposition import exposed
from streams.reading import Record
from streams.running import run_service
from streams.settings import Settings

log = logging.getLogger(__name__)

SERVICE: Final = "rollout"
_LOOK_S: Final = 0.5
_RETRY_S: Final = 2.0
_KINDS: Final[dict[str, type[KernelResult | ShadowScore | LabelledExample]]] = {
    RESULTS.name: KernelResult,
    SHADOW.name: ShadowScore,
    LABELS.name: LabelledExample,
}


def run(settings: Settings) -> None:
    """Run the roll-out until SIGTERM or SIGINT."""
    run_service(lambda: serve(settings))


async def serve(settings: Settings) -> None:
    """Watch every version on trial, until cancelled."""
    with exposed(settings, SERVICE):
        async with asyncio.TaskGroup() as tasks:
            trials: dict[str, tuple[ModelVersion, asyncio.Task[None]]] = {}
            async for known in registry.states(settings, follow=True):
                now = _on_trial(settings, known)
                for key, (version, task) in list(trials.items()):
                    if now.get(key) != version:
                        task.cancel()
                        del trials[key]
                for key, version in now.items():
                    if key not in trials:
                        trials[key] = version, tasks.create_task(_keep_watching(settings, version))


def _on_trial(settings: Settings, known: Registry) -> dict[str, ModelVersion]:
    if settings.rollout == "direct":
        return {}
    return {key: one for key, one in known.versions.items() if one.state in {"shadow", "canary"}}


async def _keep_watching(settings: Settings, version: ModelVersion) -> None:
    """Watch one stage until its version moved; again where the cluster was away."""
    while True:
        try:
            await _watch(settings, version)
        except Exception as error:  # noqa: BLE001  (whatever it was, the topics are still there)
            log.warning("watching %s anew: %s: %s", version.version, type(error).__name__, error)
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _watch(settings: Settings, version: ModelVersion) -> None:
    log.info("%s %s is on trial: %s", version.task, version.version, _stage(version))
    evidence = Evidence(version.task, version.version)
    reader = asyncio.create_task(_read(settings, version, evidence))
    try:
        while True:
            await asyncio.wait([reader], timeout=_LOOK_S)
            if reader.done():
                reader.result()
            elapsed_s = (datetime.now(UTC) - version.changed_at).total_seconds()
            decision = rollout.decide(version, evidence, elapsed_s, settings)
            if decision.move == "wait":
                continue
            if await _move(settings, version, decision):
                return
            await asyncio.sleep(_RETRY_S)
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await reader


async def _read(settings: Settings, version: ModelVersion, evidence: Evidence) -> None:
    async for record in reading.read(
        settings, list(_KINDS), start=version.changed_at, until_end=False
    ):
        event = _event(record)
        if event is not None:
            evidence.take(event)


def _event(record: Record) -> KernelResult | ShadowScore | LabelledExample | None:
    at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
    try:
        return decode(_KINDS[record.topic], record.value, record.headers, at)
    except Unanswerable:
        return None  # its readers make dead letters of it


async def _move(settings: Settings, version: ModelVersion, decision: Decision) -> bool:
    """Write the move; False where the version has to wait for its turn.

    A version that somebody else has moved meanwhile is left to them.
    """

    def change(known: Registry) -> Sequence[ModelVersion]:
        if known.versions.get(model_key(version.task, version.version)) != version:
            return []
        if decision.move == "refuse":
            return [registry.moved(version, "refused", decision.reason)]
        if _has_to_wait(known, version):
            return []
        if decision.move == "live" or known.live(version.task) is None:
            return registry.promotion(known, version, decision.reason)
        return [registry.moved(version, "canary", decision.reason, share=decision.share)]

    if decision.move != "refuse" and _has_to_wait(await registry.read(settings), version):
        return False
    for one in await promotions.change(settings, change, SERVICE):
        log.info("%s %s: %s: %s", one.task, one.version, _stage(one), one.reason)
    return True


def _has_to_wait(known: Registry, version: ModelVersion) -> bool:
    """One canary at a time: a key is answered by two versions at most."""
    canary = known.canary(version.task)
    return canary is not None and canary.version != version.version


def _stage(version: ModelVersion) -> str:
    return f"canary at {version.share:.0%}" if version.state == "canary" else version.state
