"""The fault `disk-full`: the disk of model store and model cache is full while a version changes.

What must hold: a trainer's new version is refused with a message that says what to do; the
kernel cannot load the version that was promoted, says so, and the old one goes on; when
there is space again both go on by themselves.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kernel import artefact
from proof import tiny_model
from proof.chaos.attack import says
from proof.chaos.checker import Anomaly
from proof.chaos.small_disk import SmallDisk, small_disk
from schemas.events import ModelVersion
from streams.settings import Settings
from trainer import release
from trainer.errors import TrainerError

DISK_MEGABYTES: Final = 4
_REFUSED: Final = "trained-on-a-full-disk"
_SAID_S: Final = 60.0
_HELD_S: Final = 6.0


@contextmanager
def models_on_a_small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Let the model store and the kernel's cache of the data folder lie on a small disk.

    Raises NoMountError where mounting is not allowed.
    """
    with small_disk(folder / "small-disk", DISK_MEGABYTES) as disk:
        for name in ("models", "cache"):
            (disk.path / name).mkdir()
            (folder / name).symlink_to(disk.path / name)
        yield disk


class FullDisk:
    """One time at which the disk is full, around a promotion."""

    def __init__(self, disk: SmallDisk, settings: Settings) -> None:
        self._disk = disk
        self._settings = settings
        self._log = settings.data / "logs" / "kernel.log"
        self._since = 0
        self.anomalies: list[Anomaly] = []

    async def fill(self) -> None:
        """Take all the space, beginning now."""
        self._since = self._log.stat().st_size
        await asyncio.to_thread(self._disk.fill)

    async def refuses(self, coming: ModelVersion, strength: float) -> None:
        """A trainer's version is refused, and the kernel goes on without the promoted one."""
        with tempfile.TemporaryDirectory() as scratch:
            folder, _ = tiny_model.build(_REFUSED, Path(scratch))
            try:
                await release.publish(self._settings, folder)
            except TrainerError as error:
                if "space" not in str(error):
                    self._found(f"the trainer says no word of space: {error}")
            else:
                self._found("a full disk took a new version")
        await self._says(f"{coming.task} {coming.version} is not served", "space")
        await asyncio.sleep(_HELD_S * strength)

    async def mend(self, coming: ModelVersion) -> None:
        """Free the disk: the kernel takes the version, and the store what it refused."""
        since = self._log.stat().st_size
        await asyncio.to_thread(self._disk.free)
        await self._says(f"{coming.task} is answered by {coming.version}", since=since)
        with tempfile.TemporaryDirectory() as scratch:
            folder, _ = tiny_model.build(_REFUSED, Path(scratch))
            try:
                manifest, address = await release.publish(self._settings, folder)
            except TrainerError as error:
                self._found(f"there is space again, and the store takes nothing: {error}")
            else:
                artefact.fetch(
                    address, artefact.sha256(folder / artefact.MANIFEST), Path(scratch) / "cache"
                )
                shutil.rmtree(Path(self._settings.models) / manifest.task / manifest.version)

    def free(self) -> None:
        """Whatever happened, leave space behind."""
        self._disk.free()

    async def _says(self, *what: str, since: int | None = None) -> None:
        try:
            async with asyncio.timeout(_SAID_S):
                await says(self._log, *what, since=self._since if since is None else since)
        except TimeoutError:
            self._found(f"the kernel did not say {what} within {_SAID_S:.0f} s")

    def _found(self, evidence: str) -> None:
        self.anomalies.append(Anomaly("disk-full", evidence))
