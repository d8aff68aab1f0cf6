"""Kafka's classes are written down once on a machine, and every later broker starts with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from streams import class_cache
from streams.broker import EmbeddedBroker
from streams.jars import class_path, jars_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that has the jars and nothing else."""
    class_path(lambda _said: None)
    jars = jars_folder()
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path))
    jars_folder().parent.mkdir(parents=True)
    jars_folder().symlink_to(jars)
    return jars_folder().parent


def kept_in(cache: Path) -> list[Path]:
    return list(cache.glob("*.aot"))


def command(broker: EmbeddedBroker) -> str:
    return " ".join(psutil.Process(broker.pid).cmdline())


async def test_the_first_start_writes_the_classes_down_and_later_ones_use_them(
    cache: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    async with EmbeddedBroker(tmp_path / "first", say=said.append) as first:
        (kept,) = kept_in(cache)
        assert kept.stat().st_size > 1_000_000
        assert f"-XX:AOTCache={kept}" in command(first)
        assert "[aot]" not in first.log.read_text()  # Java took it without a complaint
    assert sum("Kafka's classes" in one for one in said) == 1
    async with EmbeddedBroker(tmp_path / "second", say=said.append):
        assert sum("Kafka's classes" in one for one in said) == 1


async def test_two_first_starts_at_once_write_them_down_once(cache: Path, tmp_path: Path) -> None:
    said: list[str] = []
    both = [EmbeddedBroker(tmp_path / name, say=said.append) for name in ("one", "other")]
    try:
        await asyncio.gather(*(broker.start() for broker in both))
        assert len(kept_in(cache)) == 1
        assert all("-XX:AOTCache=" in command(broker) for broker in both)
        assert sum("Kafka's classes" in one for one in said) == 1
    finally:
        for broker in both:
            await broker.stop()


@pytest.mark.parametrize("content", [b"", b"torn"], ids=["empty", "torn"])
async def test_a_broker_starts_without_what_cannot_be_used(
    cache: Path, tmp_path: Path, content: bytes
) -> None:
    async with class_cache.missing() as part:
        assert part is not None
        part.write_bytes(content)
    async with EmbeddedBroker(tmp_path / "broker") as broker:
        assert broker.alive
    (kept,) = kept_in(cache)
    assert kept.read_bytes() == content
