"""What tests share: a real broker, and a cluster with the catalogue on it.

Both start with `asyncio.run` in plain fixtures: no event loop outlives a test, and the broker,
a process of its own, needs none.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from streams.admin import apply
from streams.broker import EmbeddedBroker
from streams.settings import Settings

# Speed is measured by benchmarks: an example that waits for a busy machine is no failure.
hypothesis.settings.register_profile("headrace", deadline=None)
hypothesis.settings.load_profile("headrace")


@pytest.fixture(autouse=True, scope="session")
def _settings_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No HEADRACE_* variable and no headrace.toml of the developer reaches a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("HEADRACE_"):
                patch.delenv(name)
        nowhere = tmp_path_factory.mktemp("nowhere") / "headrace.toml"
        patch.setitem(Settings.model_config, "toml_file", nowhere)
        yield


@pytest.fixture(autouse=True)
def _logging_of_nobody() -> Iterator[None]:
    """A command that a test runs in this process silences logging: not for the next test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One broker for all tests that use topics of their own names; no topic is on it."""
    yield from _running(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker of this module's own with the catalogue applied; the settings point to it."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    for started in _running(folder / "broker"):
        settings = Settings(data=folder, bootstrap=started.bootstrap)
        asyncio.run(apply(settings))
        yield settings


def _running(folder: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(folder)
    asyncio.run(broker.start())
    try:
        yield broker
    finally:
        asyncio.run(broker.stop())
