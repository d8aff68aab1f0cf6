"""Every kind of model behind the same topics: what was asked decides what a result carries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from kernel import artefact, registry, service
from kernel.artefact import Kind
from schemas.events import KernelRequest, ModelVersion
from schemas.ids import model_key
from schemas.topics import DEAD_LETTERS, REQUESTS, RESULTS
from streams import cluster as clients
from streams.message import Message
from streams.settings import Settings
from tests.support import tiny_kinds, topics

pytestmark = pytest.mark.timeout(120)
KINDS: tuple[Kind, ...] = ("text-classifier", "token-classifier", "embedder", "reranker")


def version(settings: Settings, kind: Kind, scratch: Path) -> ModelVersion:
    folder = tiny_kinds.make(scratch / kind, kind)
    return ModelVersion(
        id=model_key(kind, "v1"),
        task=kind,
        version="v1",
        state="live",
        labels=artefact.read(folder).labels,
        artefact=artefact.publish(folder, settings.models),
        digest=artefact.sha256(folder / artefact.MANIFEST),
        changed_at=datetime.now(UTC),
    )


async def test_one_kernel_answers_every_kind_of_task_each_request_once(
    cluster: Settings, tmp_path: Path
) -> None:
    long = " ".join(["other"] * 400 + ["ada", "lovelace"] + ["good"] * 400)
    texts = ["good news from London", long, "\u200b", "explode now"]
    producer = clients.producer(cluster)
    await producer.start()
    try:
        await registry.announce(
            producer, [version(cluster, kind, tmp_path) for kind in KINDS], "test"
        )
        for kind in KINDS:
            for number, text in enumerate(texts):
                request = KernelRequest(
                    id=f"{kind} {number}", task=kind, text=text, thread="T", target="good"
                )
                await (await Message.of(REQUESTS["standard"], b"T", request, "test").send(producer))
    finally:
        await producer.stop()
    task = asyncio.create_task(service.serve(cluster))

    async def complete() -> list[Any]:
        records = await topics.read_all(cluster, RESULTS.name, DEAD_LETTERS.name)
        return records if len(records) >= len(KINDS) * len(texts) else []

    try:
        records = await topics.until(complete, "every request has its answer", 60)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    bodies = [orjson.loads(record.value) for record in records]
    said = {body["request_id"]: body for body in bodies if "request_id" in body}
    refused = sorted(body["error_class"] for body in bodies if "error_class" in body)
    assert refused == ["driver-failed"] * len(KINDS) + ["empty-text"] * len(KINDS)
    assert len(said) == 2 * len(KINDS)

    assert said["text-classifier 0"]["label"] == "positive"
    assert sum(said["text-classifier 1"]["scores"].values()) == pytest.approx(1, abs=1e-4)
    (place,) = said["token-classifier 0"]["entities"]
    assert (place["label"], place["text"], place["start"]) == ("LOC", "London", 15)
    (name,) = said["token-classifier 1"]["entities"]
    assert long[name["start"] : name["end"]] == name["text"] == "ada lovelace"
    for number in (0, 1):
        vector = said[f"embedder {number}"]["vector"]
        assert sum(one * one for one in vector) == pytest.approx(1, abs=1e-4)
        assert said[f"embedder {number}"]["label"] == ""
        assert said[f"reranker {number}"]["score"] > 0
        assert said[f"text-classifier {number}"]["score"] is None
