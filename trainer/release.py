"""Release: a built version goes to the store, past the gate, and onto the registry topic."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernel import artefact, registry
from kernel.artefact import ArtefactError, Manifest
from kernel.registry import Registry
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.tasks import Task
from streams.settings import Settings
from trainer import gate, scoring
from trainer.dataset import Row
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


async def judge(
    settings: Settings, known: Registry, task: Task, new: Path, held_back: list[Row]
) -> Verdict:
    """The gate's verdict on the artefact in `new` against the live version of its task.

    A live version that cannot be loaded any more cannot be compared with: the new one is
    then judged as if it were the first.
    """
    truth = scoring.truth(held_back, task.labels)
    said = await asyncio.to_thread(_labels_by, new, held_back, task)
    live = known.live(task.name)
    before = None
    if live is not None:
        try:
            before = await asyncio.to_thread(_labels_by_live, settings, live, held_back, task)
        except (ArtefactError, TrainerError) as error:
            log.warning("%s %s is not compared with: %s", task.name, live.version, error)
    return gate.judge(truth, said, before)


def changes(known: Registry, version: ModelVersion, verdict: Verdict) -> list[ModelVersion]:
    """The records that the verdict makes: live and retired, or refused."""
    if verdict.promote:
        return registry.promotion(known, version, verdict.reason)
    return [registry.moved(version, "refused", verdict.reason)]


def _labels_by(folder: Path, rows: list[Row], task: Task) -> NDArray[np.int64]:
    """What the artefact in `folder` says, as indices into the task's labels; -1 for others."""
    driver = scoring.load(folder, "auto")
    own = np.array(
        [task.labels.index(label) if label in task.labels else -1 for label in driver.labels],
        np.int64,
    )
    said: NDArray[np.int64] = own[scoring.ask(driver, rows).argmax(axis=1)]
    return said


def _labels_by_live(
    settings: Settings, live: ModelVersion, rows: list[Row], task: Task
) -> NDArray[np.int64]:
    folder = artefact.fetch(live.artefact, live.digest, settings.data.absolute() / CACHE)
    return _labels_by(folder, rows, task)
