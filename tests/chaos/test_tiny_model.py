"""The words of the tiny model do to ONNX Runtime what they are named after, and to it alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kernel import artefact
from kernel.drivers.base import DriverError
from kernel.drivers.classifier import Classifier
from proof import tiny_model


@pytest.fixture
def driver(tmp_path: Path) -> Classifier:
    folder, _ = tiny_model.build("v1", tmp_path)
    return Classifier.load(folder)


def labels(driver: Classifier, texts: Sequence[str]) -> list[str]:
    said = driver.probabilities(driver.tokenize(texts, ["CHA01"] * len(texts)))
    return [driver.labels[place] for place in np.argmax(said, axis=1)]


def test_a_word_exhausts_the_memory_for_its_batch_and_for_nothing_after_it(
    driver: Classifier,
) -> None:
    with pytest.raises(DriverError, match="Failed to allocate memory"):
        labels(driver, ["3 is good news", "4 exhaust"])
    assert labels(driver, ["3 is good news", "4 is bad news"]) == ["positive", "negative"]


def test_a_word_explodes(driver: Classifier) -> None:
    with pytest.raises(DriverError, match="NaN"):
        labels(driver, ["3 explode"])


def test_kernels_that_fetch_one_version_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    address, digest = tiny_model.make(str(tmp_path / "store"), "v1", tmp_path / "built")
    together = threading.Barrier(8)

    def fetch(_: int) -> Path:
        together.wait()
        return artefact.fetch(address, digest, tmp_path / "cache")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fetch, range(8))) == {tmp_path / "cache" / digest}
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [digest]
