"""Clients made for other servers: OpenAI's embeddings, and classify, over the request topics."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kernel import artefact, registry
from schemas.events import ModelVersion
from schemas.ids import model_key
from streams import cluster as clients
from tests.support import tiny_kinds
from tests.web.conftest import Site
from tests.web.test_api import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def operator(site: Site, tmp_path_factory: pytest.TempPathFactory) -> httpx.Client:
    """A client; an embedder is live."""
    asyncio.run(_announce(site, tmp_path_factory.mktemp("embedder") / "v1"))
    client = site.client("operator")

    def is_known() -> bool:
        return any(one["task"] == "embedder" for one in client.get("/v1/models").json())

    until(is_known, "the console knows the embedder")
    return client


async def _announce(site: Site, folder: Path) -> None:
    tiny_kinds.make(folder, "embedder")
    made = ModelVersion(
        id=model_key("embedder", "v1"),
        task="embedder",
        version="v1",
        state="live",
        labels=[],
        artefact=artefact.publish(folder, site.settings.models),
        digest=artefact.sha256(folder / artefact.MANIFEST),
        changed_at=datetime.now(UTC),
    )
    producer = clients.producer(site.settings)
    await producer.start()
    try:
        await registry.announce(producer, [made], "test")
    finally:
        await producer.stop()


def test_texts_become_vectors_of_length_one_in_their_order(operator: httpx.Client) -> None:
    asked = {"model": "embedder", "input": ["good", "bad", "good"], "user": "what a client adds"}
    answer = operator.post("/v1/embeddings", json=asked)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["object"], said["model"]) == ("list", "v1")
    assert [one["index"] for one in said["data"]] == [0, 1, 2]
    first, second, third = (np.array(one["embedding"]) for one in said["data"])
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(first, third)
    assert not np.allclose(first, second)
    packed = operator.post("/v1/embeddings", json=asked | {"encoding_format": "base64"}).json()
    bytes_ = base64.b64decode(packed["data"][1]["embedding"])
    assert np.allclose(np.frombuffer(bytes_, "<f4"), second)


def test_labels_come_with_their_probabilities(operator: httpx.Client) -> None:
    asked = {"model": "sentiment", "input": "good good", "target": "DRFT"}
    answer = operator.post("/v1/classify", json=asked)
    assert answer.status_code == 200, answer.text
    (one,) = answer.json()["data"]
    assert one["label"] == "positive"
    assert one["num_classes"] == len(one["probs"]) == 3
    assert sum(one["probs"]) == pytest.approx(1, abs=1e-4)


REFUSED: list[tuple[str, dict[str, Any], int, tuple[str | None, str | None]]] = [
    ("embeddings", {"model": "nobody", "input": "a"}, 404, ("model_not_found", "model")),
    ("embeddings", {"model": "sentiment", "input": "a"}, 404, ("model_not_found", "model")),
    ("classify", {"model": "embedder", "input": "a"}, 404, ("model_not_found", "model")),
    ("embeddings", {"input": "a"}, 400, (None, "model")),
    ("embeddings", {"model": "embedder", "input": "a", "dimensions": 7}, 400, (None, None)),
    ("embeddings", {"model": "embedder", "input": "\u200b"}, 400, (None, None)),
]


@pytest.mark.parametrize(("call", "body", "status", "named"), REFUSED)
def test_errors_have_the_shape_that_openai_s_clients_show(
    operator: httpx.Client,
    call: str,
    body: dict[str, Any],
    status: int,
    *,
    named: tuple[str | None, str | None],
) -> None:
    answer = operator.post(f"/v1/{call}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"]
    assert (error["code"], error["param"]) == named
    assert error["type"] == "invalid_request_error"


def test_a_viewer_may_not_ask(operator: httpx.Client, site: Site) -> None:
    _ = operator
    asked = {"model": "embedder", "input": "a"}
    answer = site.client("viewer").post("/v1/embeddings", json=asked)
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"
