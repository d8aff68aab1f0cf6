"""The versions that are loaded, within a budget of memory; the least recently used one leaves.

A version that leaves is forgotten here and goes when the last request that it was given to is
scored: nothing that is in work loses its model.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel import artefact
from kernel.drivers import opening
from kernel.drivers.base import Driver
from schemas.events import ModelVersion
from streams.settings import Settings

log = logging.getLogger(__name__)

_MEASURED_TEXT: Final = "the quarter ended better than the market had feared " * 3
"""About the length of the texts that a feed carries; cost is compared, so any will do."""
_PASSES: Final = 5


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory."""

    version: ModelVersion
    driver: Driver
    megabytes: float
    """Size of the files that the driver holds: what they take in memory at least."""
    cost_ms: float
    """Median of a few forward passes over one text, on this machine as it is."""


class Pool:
    """Loaded versions by digest, the least recently used first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, Loaded] = {}
        self._too_large: dict[str, float] = {}
        """Megabytes by digest of what was loaded ahead in vain: not again without room."""
        self._one_at_a_time = asyncio.Lock()
        self.unloaded = 0
        """Versions that had to leave, since the start."""

    @property
    def megabytes(self) -> float:
        """What is held now."""
        return sum(one.megabytes for one in self._loaded.values())

    def get(self, version: ModelVersion) -> Loaded | None:
        """The version if it is loaded; it counts as used now."""
        found = self._loaded.pop(version.digest, None)
        if found is not None:
            self._loaded[version.digest] = found
        return found

    def peek(self, version: ModelVersion) -> Loaded | None:
        """The version if it is loaded, without using it."""
        return self._loaded.get(version.digest)

    async def load(self, version: ModelVersion) -> Loaded:
        """Load a version that is needed; others leave until the budget is kept.

        One that is larger than the budget by itself is loaded alone.

        Raises:
            ArtefactError: the artefact is out of reach, or damaged.
            DriverError: it cannot be loaded.
        """
        async with self._one_at_a_time:
            found = self.get(version)
            if found is None:
                found = await asyncio.to_thread(_open, self._settings, version)
                self._loaded[version.digest] = found
                self._make_room()
            return found

    async def load_ahead(self, version: ModelVersion) -> Loaded | None:
        """Load a version that may be needed soon; None where there is no room for it.

        Raises:
            ArtefactError, DriverError: as `load`.
        """
        async with self._one_at_a_time:
            found = self.peek(version)
            if found is None:
                if not self._fits(self._too_large.get(version.digest, 0.0)):
                    return None
                found = await asyncio.to_thread(_open, self._settings, version)
                if not self._fits(found.megabytes):
                    self._too_large[version.digest] = found.megabytes
                    log.warning(
                        "no room to load %s %s ahead: HEADRACE_MODELS_MB is %g",
                        version.task,
                        version.version,
                        self._settings.models_mb,
                    )
                    return None
                # Least recently used of all: it must not drive out what answers.
                self._loaded = {version.digest: found, **self._loaded}
            return found

    def keep_only(self, versions: Collection[ModelVersion]) -> None:
        """Forget what can answer nothing any more."""
        digests = {one.digest for one in versions}
        for digest in [one for one in self._loaded if one not in digests]:
            self._forget(digest, "it answers nothing any more")

    def _fits(self, megabytes: float) -> bool:
        return self.megabytes + megabytes <= self._settings.models_mb

    def _make_room(self) -> None:
        while len(self._loaded) > 1 and self.megabytes > self._settings.models_mb:
            self.unloaded += 1
            self._forget(next(iter(self._loaded)), "others need its memory")

    def _forget(self, digest: str, why: str) -> None:
        gone = self._loaded.pop(digest)
        log.info("%s %s is unloaded: %s", gone.version.task, gone.version.version, why)


def open_version(settings: Settings, version: ModelVersion, threads: int | None = None) -> Driver:
    """The driver of a version, loaded through this machine's cache and warm.

    A pass uses `threads`, by default every core.

    Raises:
        ArtefactError: the artefact is out of reach, or damaged.
        DriverError: it cannot be loaded.
    """
    cache = Path(settings.data) / "cache" / "models"
    folder = artefact.fetch(version.artefact, version.digest, cache)
    driver = opening.load(
        folder,
        settings.precision,
        threads,
        device=settings.device,
        gpu_mb=settings.gpu_memory_mb,
    )
    driver.warm_up()
    return driver


def _open(settings: Settings, version: ModelVersion) -> Loaded:
    driver = open_version(settings, version, 1)  # the engine runs passes side by side
    return Loaded(version, driver, driver.memory_bytes / 1e6, _cost_ms(driver))


def _cost_ms(driver: Driver) -> float:
    text = driver.tokenize([_MEASURED_TEXT], [None])
    times = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        driver.forward(text)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000
