"""The demo, from start to last verdict, on a model that an earlier start has left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.demo import feed_events, next_shift, shifted
from kernel import registry
from proof import tiny_model
from schemas.events import ModelVersion
from streams import admin
from streams import cluster as clients
from streams.broker import EmbeddedBroker
from streams.settings import Settings
from tests.support.command import process


async def leave_a_model(data: Path, scratch: Path) -> None:
    """What a first start leaves: a broker's folder with a live model in it."""
    async with EmbeddedBroker(data / "broker") as broker:
        settings = Settings(data=data, bootstrap=broker.bootstrap)
        await admin.apply(settings)
        address, digest = tiny_model.make(settings.models, "tiny", scratch)
        version = ModelVersion(
            id="tiny",
            task="sentiment",
            version="tiny",
            state="live",
            labels=tiny_model.LABELS,
            artefact=address,
            digest=digest,
            changed_at=datetime.now(UTC),
        )
        producer = clients.producer(settings)
        await producer.start()
        try:
            await registry.announce(producer, [version], "test")
        finally:
            await producer.stop()


@pytest.mark.timeout(300)
def test_a_second_start_teaches_nothing_and_each_replay_is_answered_in_full(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    asyncio.run(leave_a_model(data, tmp_path))
    options = ["--no-screen", "--json", "--data", str(data)]

    first = process("demo", *options, "--speed", "max", "--exit-after", "replay", within_s=140)
    assert first.code == 0, first.err
    whole = first.lines()
    summary = whole[-1]
    assert summary["published"] == len(feed_events())
    assert summary["verdicts"] > summary["published"], "some texts name two companies"
    assert summary["dead_letters"] == 0
    assert summary["model"] == "sentiment tiny fp32"
    said = [line.get("message", "") for line in whole]
    assert not any("teaching" in message or "training" in message for message in said)

    console = ["--console", "--exit-after", "first-verdict"]
    second = process("demo", *options, *console, within_s=140)
    assert second.code == 0, second.err
    again = second.lines()
    assert again[-1]["first_verdict_s"] > 0
    links = [line["message"] for line in again if "web console" in line.get("message", "")]
    assert any("/open?token=" in one or "port 8420" in one for one in links), links
    assert again[-1]["dead_letters"] == 0, "the same feed under new ids is no duplicate"


def test_each_replay_follows_on_the_one_before_and_keeps_the_time_of_day(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    events = feed_events()
    ended = datetime.min.replace(tzinfo=UTC)
    for run in range(3):
        moved = shifted(events, next_shift(settings, events), f"{run}-")
        times = [event.published_at for event in moved if event.published_at is not None]
        before = [event.published_at for event in events if event.published_at is not None]
        assert len(times) == len(events)
        assert min(times) > ended
        assert max(times) <= datetime.now(UTC)
        assert [time.time() for time in times] == [time.time() for time in before]
        assert moved[0].id == f"{run}-{events[0].id}"
        ended = max(times)
    for _ in range(100):  # far more replays than there is room for
        moved = shifted(events, next_shift(settings, events), "x-")
        assert max(event.published_at for event in moved if event.published_at) <= datetime.now(UTC)
