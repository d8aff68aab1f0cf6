"""The kernel over a real broker with a real, tiny ONNX model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from kernel import registry, service
from proof import tiny_model
from schemas.events import KernelRequest, ModelVersion
from schemas.ids import model_key
from schemas.topics import DEAD_LETTERS, MODELS, REQUESTS, RESULTS
from streams import cluster as clients
from streams.message import Message
from streams.settings import Settings
from tests.support import topics

pytestmark = pytest.mark.timeout(120)


def _request(number: int, text: str, **fields: Any) -> Message:
    thread = fields.pop("thread", f"T{number % 5}")
    request = KernelRequest(
        id=f"r{number}", text=text, thread=thread, **({"task": "sentiment"} | fields)
    )
    return Message.of(REQUESTS["standard"], thread.encode(), request, "test")


async def _send(settings: Settings, *messages: Message) -> None:
    producer = clients.producer(settings)
    await producer.start()
    try:
        await asyncio.gather(*[await message.send(producer) for message in messages])
    finally:
        await producer.stop()


async def _make_live(settings: Settings, version: str, scratch: Path, *, flip: bool) -> None:
    address, digest = tiny_model.make(settings.models, version, scratch, flip=flip)
    announced = ModelVersion(
        id=model_key("sentiment", version),
        task="sentiment",
        version=version,
        state="candidate",
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        changed_at=datetime.now(UTC),
    )
    now = await registry.read(settings)
    producer = clients.producer(settings)
    await producer.start()
    try:
        await registry.announce(producer, registry.promotion(now, announced, "test"), "test")
    finally:
        await producer.stop()


@asynccontextmanager
async def kernel(settings: Settings) -> AsyncIterator[None]:
    task = asyncio.create_task(service.serve(settings))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _answers(settings: Settings, count: int) -> dict[str, Any]:
    """Results and dead letters by request id; each id must come once."""

    async def complete() -> list[Any]:
        records = await topics.read_all(settings, RESULTS.name, DEAD_LETTERS.name)
        return records if len(records) >= count else []

    found: dict[str, Any] = {}
    for record in await topics.until(complete, f"{count} answers", 40):
        body = orjson.loads(record.value)
        name = body.get("request_id") or f"letter {body['id']}"
        assert name not in found, "answered twice"
        found[name] = body
    return found


async def test_requests_are_answered_by_the_live_model_through_poison_and_a_swap(
    cluster: Settings, tmp_path: Path
) -> None:
    async with kernel(cluster):
        # Known task, no model yet: requests wait, they do not fail.
        await _send(cluster, *[_request(n, "good news") for n in range(50)])
        await _make_live(cluster, "v1", tmp_path, flip=False)
        first = await _answers(cluster, 50)
        assert Counter(one["label"] for one in first.values()) == {"positive": 50}
        assert {one["model_version"] for one in first.values()} == {"v1"}
        assert sum(one["cached"] for one in first.values()) == 49, "one text, one forward pass"
        assert all(abs(sum(one["scores"].values()) - 1) < 1e-4 for one in first.values())

        # One text makes the model give infinities, in the middle of a batch.
        poison = _request(60, "explode now")
        await _send(
            cluster,
            *[_request(n, "bad news", target="X Corp") for n in range(51, 60)],
            poison,
            _request(61, "   "),
            _request(62, "x" * 100_001),
            _request(63, "good", task="no-such-task"),
            *[_request(n, "so so") for n in range(64, 70)],
        )
        second = await _answers(cluster, 69)
        assert [second[f"r{n}"]["label"] for n in range(51, 60)] == ["negative"] * 9
        assert [second[f"r{n}"]["label"] for n in range(64, 70)] == ["neutral"] * 6
        letters = Counter(
            one["error_class"] for name, one in second.items() if name.startswith("letter")
        )
        assert letters == {
            "driver-failed": 1,
            "empty-text": 1,
            "text-too-long": 1,
            "unknown-task": 1,
        }

        await _make_live(cluster, "v2", tmp_path, flip=True)

        async def swapped() -> bool:
            records = await topics.read_all(cluster, RESULTS.name)
            return any(r.json()["model_version"] == "v2" for r in records)

        number = 70
        while not await swapped():
            await _send(cluster, _request(number, "good news", thread="swap"))
            number += 1
        third = await _answers(cluster, number - 1)
        said = [third[f"r{n}"] for n in range(70, number)]
        versions = [one["model_version"] for one in said]
        assert versions == sorted(versions), "never back to a retired version"
        assert {(one["model_version"], one["label"]) for one in said} <= {
            ("v1", "positive"),
            ("v2", "negative"),
        }


async def test_a_damaged_artefact_is_not_served_and_the_old_version_goes_on(
    cluster: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _make_live(cluster, "v3", tmp_path, flip=False)
    before = len(await topics.read_all(cluster, RESULTS.name, DEAD_LETTERS.name))
    async with kernel(cluster):
        await _send(cluster, _request(1_000, "good"))
        await _answers(cluster, before + 1)
        address, digest = tiny_model.make(cluster.models, "v4", tmp_path)
        (Path(address) / "model.fp32.onnx").write_bytes(b"damaged")
        broken = ModelVersion(
            id="sentiment/v4",
            task="sentiment",
            version="v4",
            state="live",
            labels=tiny_model.LABELS,
            artefact=address,
            digest=digest,
            changed_at=datetime.now(UTC),
        )
        await _send(cluster, Message.of(MODELS, b"sentiment/v4", broken, "test"))

        async def refused() -> bool:
            return "is damaged" in caplog.text

        await topics.until(refused, "the kernel says what is wrong")
        await _send(cluster, _request(1_001, "good"))
        answers = await _answers(cluster, before + 2)
    assert answers["r1001"]["model_version"] == "v3"
