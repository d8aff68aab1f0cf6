"""Roll-out over a real broker: shadowed, canaried, promoted; or refused by itself, nothing lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kernel import promotions, registry, rollout_service
from proof import tiny_model
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.topics import DEAD_LETTERS, RESULTS, SHADOW, SWAPS
from streams import cluster as clients
from streams.settings import Settings
from tests.kernel import test_service as kit
from tests.support import topics

pytestmark = pytest.mark.timeout(180)

_numbers = count()
TEXTS = ("good news", "bad news", "so so", "good and better news", "nothing new")


@pytest.fixture
def settings(cluster: Settings) -> Settings:
    return cluster.model_copy(
        update={
            "rollout_stage_s": 60.0,
            "rollout_answers": 50,
            "canary_shares": [0.4, 1.0],
            "max_slowdown": 1e6,  # two tiny models of one make differ by the machine's mood alone
        }
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """A kernel and two roll-outs, of which one at a time may act, in this process."""
    async with kit.kernel(settings):
        tasks = [asyncio.create_task(rollout_service.serve(settings)) for _ in range(2)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def announce(
    settings: Settings, version: str, scratch: Path, *, flip: bool = False, broken: str = ""
) -> ModelVersion:
    """A version that has passed the gate, made known as the trainer does it."""
    address, digest = tiny_model.make(settings.models, version, scratch, flip=flip, broken=broken)
    made = ModelVersion(
        id=model_key("sentiment", version),
        task="sentiment",
        version=version,
        state="candidate",
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        metrics={"accuracy": 0.9},
        changed_at=datetime.now(UTC),
    )
    known = await registry.read(settings)
    producer = clients.producer(settings)
    await producer.start()
    try:
        changes = registry.passed(settings, known, made, "better on held-back rows")
        await registry.announce(producer, changes, "test")
    finally:
        await producer.stop()
    return made


async def state(settings: Settings, version: str) -> ModelVersion:
    return (await registry.read(settings)).versions[model_key("sentiment", version)]


async def feed_until(
    settings: Settings, reached: Callable[[ModelVersion], bool], version: str
) -> list[str]:
    """Send requests of many threads until the version has come so far; their ids."""
    sent: list[str] = []
    async with asyncio.timeout(60):
        while not reached(await state(settings, version)):
            numbers = [next(_numbers) for _ in range(20)]
            await kit._send(
                settings,
                *[
                    kit._request(n, f"{TEXTS[n % len(TEXTS)]} {n}", thread=f"K{n % 37}")
                    for n in numbers
                ],
            )
            sent += [f"r{n}" for n in numbers]
    return sent


async def results_of(settings: Settings, sent: list[str]) -> list[dict[str, Any]]:
    """The one result of each request, by partition and offset; dead letters are none."""
    wanted = set(sent)

    async def complete() -> list[dict[str, Any]]:
        records = await topics.read_all(settings, RESULTS.name)
        found = [r.json() | {"part": r.partition} for r in records]
        found = [one for one in found if one["request_id"] in wanted]
        return found if len(found) >= len(wanted) else []

    found: list[dict[str, Any]] = await topics.until(complete, "every request is answered", 40)
    assert sorted(one["request_id"] for one in found) == sorted(sent), "each exactly once"
    assert not await topics.read_all(settings, DEAD_LETTERS.name)
    return found


def versions_by_key(results: list[dict[str, Any]]) -> dict[str, list[str]]:
    """For each thread, the versions that answered it, in order, repetitions left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in results:
        if found[one["thread"]][-1:] != [one["model_version"]]:
            found[one["thread"]].append(one["model_version"])
    return found


async def test_a_later_version_is_shadowed_canaried_and_promoted_and_no_key_flips_back(
    settings: Settings, tmp_path: Path
) -> None:
    async with running(settings):
        await announce(settings, "a1", tmp_path)
        assert (await state(settings, "a1")).state == "live", "the first one goes live at once"
        await announce(settings, "a2", tmp_path)
        assert (await state(settings, "a2")).state == "shadow"
        sent = await feed_until(settings, lambda one: one.state == "live", "a2")
        sent += await feed_until(settings, lambda _: True, "a2")
        results = await results_of(settings, sent)
        numbers = [next(_numbers) for _ in range(37)]
        await kit._send(settings, *[kit._request(n, "so", thread=f"K{n % 37}") for n in numbers])
        last = await results_of(settings, [f"r{n}" for n in numbers])

    for key, versions in versions_by_key(results).items():
        assert versions in (["a1"], ["a1", "a2"], ["a2"]), key
    assert {one["model_version"] for one in last} <= {"a1", "a2"}
    states = [one.state for one in await promotions.history(settings) if one.version == "a2"]
    assert states == ["shadow", "canary", "canary", "live"]
    assert (await state(settings, "a1")).state == "retired"

    # A shadow's answers never stand among the results, and each is there once.
    shadowed = [record.json() for record in await topics.read_all(settings, SHADOW.name)]
    assert {one["shadowed_by"] for one in shadowed} == {"a1", "a2"}
    assert {one["id"] for one in shadowed}.isdisjoint(one["id"] for one in results)
    assert all(one["label"] == one["shadow_label"] for one in shadowed)
    await _swaps_hold(settings, results + last)


async def _swaps_hold(settings: Settings, results: list[dict[str, Any]]) -> None:
    """Behind the last swap of its partition of requests no result is by a version that left."""
    swaps = [record.json() for record in await topics.read_all(settings, SWAPS.name)]
    assert len({one["id"] for one in swaps}) == len(swaps)
    offsets: dict[str, tuple[int, int]] = {}
    for record in await topics.read_all(settings, "kernel.requests.standard"):
        offsets[record.json()["id"]] = (record.partition, record.offset)
    assert swaps
    for one in results:
        partition, offset = offsets[one["request_id"]]
        (*_, swap) = (s for s in swaps if s["partition"] == partition and s["offset"] <= offset)
        names = swap["route"].partition("*")[0].split("+")
        assert one["model_version"] in names, (one["request_id"], swap)


async def test_a_canary_that_goes_wrong_is_refused_by_itself_and_nothing_is_lost_or_doubled(
    settings: Settings, tmp_path: Path
) -> None:
    before = (await registry.read(settings)).live("sentiment")
    assert before is not None
    async with running(settings):
        await announce(settings, "b2", tmp_path, flip=True)
        await promotions.canary(settings, "sentiment", "b2", "looks good", "test", share=0.5)
        sent = await feed_until(settings, lambda one: one.state == "refused", "b2")
        reason = (await state(settings, "b2")).reason
        assert "agrees with the live version" in reason or "drift" in reason
        results = await results_of(settings, sent)

        async def back() -> bool:
            number = next(_numbers)
            threads = [f"K{n}" for n in range(37)]
            ids = [next(_numbers) for _ in threads]
            await kit._send(
                settings,
                *[
                    kit._request(n, f"x {number}", thread=key)
                    for n, key in zip(ids, threads, strict=True)
                ],
            )
            found = await results_of(settings, [f"r{n}" for n in ids])
            results.extend(found)
            return {one["model_version"] for one in found} == {before.version}

        await topics.until(back, "the live version answers every key again")
    assert {one["model_version"] for one in results} == {before.version, "b2"}
    for key, versions in versions_by_key(results).items():
        assert versions in (
            [before.version],
            [before.version, "b2", before.version],
            ["b2", before.version],
        ), key
    live = (await registry.read(settings)).live("sentiment")
    assert live is not None
    assert live.version == before.version


async def test_what_a_canary_fails_on_is_answered_by_the_live_version_and_the_canary_refused(
    settings: Settings, tmp_path: Path
) -> None:
    async with running(settings):
        await announce(settings, "c2", tmp_path, broken="good")
        await promotions.canary(settings, "sentiment", "c2", "looks good", "test", share=1.0)
        sent = await feed_until(settings, lambda one: one.state == "refused", "c2")
        results = await results_of(settings, sent)
    assert "fails on" in (await state(settings, "c2")).reason
    failed = [one for one in results if one["chosen_by"] == "failure"]
    assert failed
    assert all("good" in one["excerpt"] and one["label"] == "positive" for one in failed)
    assert "c2" not in {one["model_version"] for one in failed}


async def test_a_rollout_that_was_away_goes_on_with_what_was_seen_meanwhile(
    settings: Settings, tmp_path: Path
) -> None:
    async with kit.kernel(settings):
        await announce(settings, "d2", tmp_path)

        async def compared() -> bool:
            numbers = [next(_numbers) for _ in range(20)]
            await kit._send(settings, *[kit._request(n, f"good {n}") for n in numbers])
            scores = [record.json() for record in await topics.read_all(settings, SHADOW.name)]
            said = [one for one in scores if one["shadowed_by"] == "d2"]
            return len(said) >= settings.rollout_answers

        await topics.until(compared, "enough is compared while no roll-out runs", 60)
        assert (await state(settings, "d2")).state == "shadow"

    task = asyncio.create_task(rollout_service.serve(settings))
    try:

        async def moved_on() -> bool:
            return (await state(settings, "d2")).state == "canary"

        await topics.until(moved_on, "it decides by what is on the topics", 40)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert "answers compared" in (await state(settings, "d2")).reason
