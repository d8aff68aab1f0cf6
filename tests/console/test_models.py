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


def test_a_version_is_tried_by_hand_and_the_history_tells_its_way(
    console: Console, cluster: Settings
) -> None:
    asyncio.run(announce(cluster, version("w1", "live"), version("w2", "candidate")))
    assert console("models", "shadow", "w2", "--hold").code == 0
    assert "shadow (held)" in console("models", "list").out
    tried = console("models", "canary", "w2", "--share", "0.25", "--reason", "on Monday")
    assert (tried.code, "w2: canary 25% (on Monday)" in tried.out) == (0, True)

    asyncio.run(announce(cluster, version("w3", "candidate")))
    second = console("models", "canary", "w3")
    assert (second.code, "w2 is the canary" in second.err) == (9, True)
    live = console("models", "shadow", "w1")
    assert (live.code, "live already" in live.err) == (9, True)

    assert console("models", "refuse", "w2", "--reason", "slow").code == 0
    again = console("models", "canary", "w2")
    assert (again.code, "w2 was refused: slow" in again.err) == (9, True)
    assert console("models", "standby", "w3").code == 0
    assert states(console)["w3"] == "standby"

    told = console("models", "history", "--task", "sentiment", "--json").lines()
    way = [(one["state"], one["share"], one["reason"]) for one in told if one["version"] == "w2"]
    assert way == [
        ("candidate", 0.0, ""),
        ("shadow", 0.0, "shadowed by hand"),
        ("canary", 0.25, "on Monday"),
        ("refused", 0.0, "slow"),
    ]
    assert "on Monday" in console("models", "history").out
