"""A full disk under store and cache: the message says what to do, and space mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel import artefact
from kernel.artefact import ArtefactError
from proof import tiny_model
from proof.chaos.full_disk import models_on_a_small_disk
from proof.chaos.small_disk import NoMountError, SmallDisk
from streams.settings import Settings
from trainer import release
from trainer.errors import TrainerError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        with models_on_a_small_disk(tmp_path) as mounted:
            yield mounted
    except NoMountError as error:
        pytest.skip(f"a full disk has to be mounted, which this process may not: {error}")


async def test_the_store_refuses_a_version_and_takes_it_when_there_is_space(
    disk: SmallDisk, tmp_path: Path
) -> None:
    settings = Settings(data=tmp_path)
    folder, digest = tiny_model.build("v1", tmp_path / "built")
    disk.fill()
    with pytest.raises(TrainerError, match="free space"):
        await release.publish(settings, folder)
    disk.free()
    _, address = await release.publish(settings, folder)
    artefact.fetch(address, digest, tmp_path / "elsewhere")


def test_the_cache_names_its_disk_and_takes_the_version_when_there_is_space(
    disk: SmallDisk, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" / "models"
    address, digest = tiny_model.make(str(tmp_path / "models"), "v1", tmp_path / "built")
    disk.fill()
    with pytest.raises(ArtefactError, match=r"no space for .*cache"):
        artefact.fetch(address, digest, cache)
    assert not (cache / digest).exists()
    disk.free()
    assert artefact.read(artefact.fetch(address, digest, cache)).version == "v1"
