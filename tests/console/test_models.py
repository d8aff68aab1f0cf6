"""A person can see, promote and roll back model versions; exactly one is live afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from kernel import registry
from schemas.events import ModelState, ModelVersion
from streams import cluster as clients
from streams.settings import Settings
from tests.support.command import Console


@pytest.fixture(scope="module")
def console(cluster: Settings) -> Console:
    return Console(cluster)


def version(name: str, state: ModelState, reason: str = "") -> ModelVersion:
    return ModelVersion(
        id=f"model-{name}",
        task="sentiment",
        version=name,
        state=state,
        labels=["negative", "neutral", "positive"],
        artefact="nowhere",
        digest="0" * 64,
        metrics={"accuracy": 0.75},
        reason=reason,
        changed_at=datetime.now(UTC),
    )


async def announce(settings: Settings, *versions: ModelVersion) -> None:
    producer = clients.producer(settings)
    await producer.start()
    try:
        await registry.announce(producer, versions, "test")
    finally:
        await producer.stop()


def states(console: Console) -> dict[str, str]:
    shown = console("models", "list", "--task", "sentiment", "--json")
    assert shown.code == 0
    return {one["version"]: one["state"] for one in shown.lines()}


def test_promote_and_rollback_leave_one_live_version(console: Console, cluster: Settings) -> None:
    asyncio.run(
        announce(
            cluster,
            version("v1", "live"),
            version("v2", "candidate"),
            version("v3", "refused", "worse than v1"),
        )
    )
    promoted = console("models", "promote", "v2", "--reason", "looked at by hand")
    assert promoted.code == 0
    assert "v2: live (looked at by hand)" in promoted.out
    assert states(console) == {"v1": "retired", "v2": "live", "v3": "refused"}
    assert "accuracy=0.75" in console("models", "list").out

    again = console("models", "promote", "v2")
    assert (again.code, "live already" in again.err) == (9, True)
    refused = console("models", "promote", "v3")
    assert (refused.code, "worse than v1" in refused.err) == (9, True)

    assert console("models", "rollback").code == 0
    assert states(console) == {"v1": "live", "v2": "retired", "v3": "refused"}
