"""Release: a built version goes to the store, past the gate, and onto the registry topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kernel import artefact, registry
from kernel.artefact import ArtefactError, Manifest
from kernel.drivers.base import DriverError
from kernel.registry import Registry
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.tasks import Task
from streams.settings import Settings
from trainer import evidence, gate
from trainer.dataset import Dataset, Row, is_held_back
from trainer.errors import TrainerError
from trainer.gate import Verdict

log = logging.getLogger(__name__)

CACHE: Final = Path("cache") / "trainer"
"""The trainer's own: the kernel may be fetching the same version at the same moment."""


async def publish(settings: Settings, folder: Path) -> tuple[Manifest, str]:
    """Copy the artefact in `folder` to the store; its manifest and address.

    Raises:
        TrainerError: the store does not take it.
    """
    try:
        address = await asyncio.to_thread(artefact.publish, folder, settings.models)
    except Exception as error:  # every kind of store raises its own
        raise TrainerError(
            f"the model store {settings.models} does not take the new version: {error}; check "
            "HEADRACE_MODEL_STORE, its credentials and its free space"
        ) from error
    return artefact.read(folder), address


def fetched(settings: Settings, version: ModelVersion) -> Path:
    """The trainer's own copy of an artefact, every file checked.

    Raises:
        ArtefactError: the store does not give it, or a digest differs.
    """
    return artefact.fetch(version.artefact, version.digest, settings.data.absolute() / CACHE)


def candidate(manifest: Manifest, address: str, digest: str) -> ModelVersion:
    """The first record of a version."""
    return ModelVersion(
        id=model_key(manifest.task, manifest.version),
        task=manifest.task,
        version=manifest.version,
        state="candidate",
        labels=manifest.labels,
        artefact=address,
        digest=digest,
        metrics={
            **manifest.metrics,
            **{f"agreement_{name}": share for name, share in manifest.agreement.items()},
        },
        reason="trained; not yet judged",
        changed_at=datetime.now(UTC),
    )


@dataclass(frozen=True, slots=True)
class Built:
    """A built version, and what it takes to judge it."""

    task: Task
    folder: Path
    data: Dataset
    held_back: float
    """Share of the texts that is held back, by the recipe."""
    until: Callable[[Mapping[str, int]], Sequence[Row]]
    """The rows as they stood at some offsets of the labels."""


async def judge(settings: Settings, known: Registry, new: Built) -> Verdict:
    """The gate's verdict on `new` against the live version of its task.

    A live version that cannot be loaded any more cannot be compared with: the new one is
    then judged as if it were the first.
    """
    live = known.live(new.task.name)
    found = None
    if live is not None:
        try:
            found = await asyncio.to_thread(_against_live, settings, live, new)
        except (ArtefactError, DriverError, TrainerError) as error:
            log.warning("%s %s is not compared with: %s", new.task.name, live.version, error)
    if found is None:
        found = await asyncio.to_thread(evidence.first, new.folder, new.data, new.task)
    return gate.judge(found, new.task.limits)


def changes(
    settings: Settings, known: Registry, version: ModelVersion, verdict: Verdict
) -> list[ModelVersion]:
    """The records that the verdict makes: live (a first version), shadow (others), or refused."""
    if verdict.promote:
        return registry.passed(settings, known, version, verdict.reason)
    return [registry.moved(version, "refused", verdict.reason)]


def _against_live(settings: Settings, live: ModelVersion, new: Built) -> gate.Evidence:
    folder = fetched(settings, live)
    manifest = artefact.read(folder)
    before = new.until(manifest.learned_until)
    # What the live version may have learned from does not judge the new one.
    share = min(new.held_back, manifest.held_back or new.held_back)
    kept = [row for row in before if is_held_back(row.text, share)]
    return evidence.against(new.folder, folder, new.data, evidence.Before(before, kept), new.task)
