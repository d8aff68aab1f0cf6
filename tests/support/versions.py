"""Versions of a model of sentiment: built as a trainer builds them, announced as it does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from schemas.events import ModelVersion
from schemas.tasks import SENTIMENT
from trainer.build import Built, build
from trainer.dataset import Dataset
from trainer.progress import Progress
from trainer.recipe import Recipe


def make(folder: Path, recipe: Recipe, data: Dataset, until: Mapping[str, int]) -> Built:
    """A version called as `folder`, which knew the labels up to the offsets `until`."""
    return build(
        data,
        SENTIMENT,
        recipe,
        version=folder.name,
        folder=folder,
        progress=Progress(folder / "current.json", folder.name, "sentiment"),
        origin="test",
        learned_until=dict(until),
    )


def announced(made: Built, address: str) -> ModelVersion:
    """What the registry says of it once it is live and its artefact lies at `address`."""
    return ModelVersion(
        id="v",
        task="sentiment",
        version=made.manifest.version,
        state="live",
        labels=made.manifest.labels,
        artefact=address,
        digest=made.digest,
        changed_at=datetime.now(UTC),
    )
