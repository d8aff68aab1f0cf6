"""The models that this kernel has loaded: it follows the registry and swaps live versions.

A swap changes which driver new requests get; requests already given to the old
driver are still scored by it, so nothing waits and nothing is lost. Within a lane
the driver is chosen in offset order, so versions never flip back within a partition.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from kernel import artefact, registry
from kernel.artefact import ArtefactError
from kernel.drivers.base import Driver, DriverError
from kernel.drivers.classifier import Classifier
from kernel.registry import Registry
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.tasks import TASKS
from streams.settings import Settings

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
"""Pause before a version that could not be loaded is tried again: a store may come back."""
CATCH_UP_S: Final = 30.0
"""How long a new owner waits for the version that a lane last used."""


class Models:
    """Live drivers by task."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry()
        self._drivers: dict[str, Driver] = {}
        self._tried: dict[str, str] = {}
        """Live version of each task that was loaded, or that failed to load."""
        self._read = asyncio.Condition()
        self._stale = asyncio.Event()
        self._present = False

    def driver(self, task: str) -> Driver | None:
        """The driver that answers `task` now; None while none is live."""
        return self._drivers.get(task)

    def knows(self, task: str) -> bool:
        """Whether `task` is one that a model answers, or will once it is trained."""
        return task in TASKS or task in self._registry.tasks()

    async def wait_for(self, task: str) -> Driver:
        """The driver of `task`, waiting until one is live."""
        async with self._read:
            await self._read.wait_for(lambda: task in self._drivers)
            return self._drivers[task]

    async def wait_until_seen(self, versions: dict[str, str]) -> None:
        """Return when the registry was read up to these versions and what is live was tried.

        A version that is withdrawn from the registry is waited for in vain; after
        `CATCH_UP_S` the kernel goes on and says so.
        """

        def seen() -> bool:
            return self._present and all(
                model_key(task, version) in self._registry.versions
                and (live := self._registry.live(task)) is not None
                and self._tried.get(task) == live.version
                for task, version in versions.items()
            )

        try:
            async with asyncio.timeout(CATCH_UP_S), self._read:
                await self._read.wait_for(seen)
        except TimeoutError:
            log.warning("going on without having seen %s in the registry", versions)

    async def follow(self) -> None:
        """Read the registry and load what is live, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_registry())
            tasks.create_task(self._keep_loaded())

    async def _follow_registry(self) -> None:
        async for batch in registry.changes(self._settings, follow=True):
            for key, change in batch:
                self._registry.apply(key, change)
            self._present = True
            self._stale.set()

    async def _keep_loaded(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            failed = [task for task in self._registry.tasks() if not await self._load(task)]
            async with self._read:
                self._read.notify_all()
            if failed:
                asyncio.get_running_loop().call_later(RETRY_S, self._stale.set)

    async def _load(self, task: str) -> bool:
        live = self._registry.live(task)
        loaded = self._drivers.get(task)
        if live is None or (loaded is not None and loaded.version == live.version):
            return True
        try:
            driver = await asyncio.to_thread(self._open, live)
        except (ArtefactError, DriverError) as error:
            log.error("%s %s is not served: %s", task, live.version, error)  # noqa: TRY400
            return False
        finally:
            self._tried[task] = live.version
        self._drivers[task] = driver
        log.info("%s is answered by %s (%s)", task, driver.version, driver.precision)
        return True

    def _open(self, live: ModelVersion) -> Driver:
        cache = Path(self._settings.data) / "cache" / "models"
        driver = Classifier.load(artefact.fetch(live.artefact, live.digest, cache))
        driver.warm_up()
        return driver
