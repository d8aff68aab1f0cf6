"""A coordinator that cannot say where a group stands is asked again, and never misunderstood."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupLoadInProgressError, KafkaError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams import cluster as connect
from streams import committed as subject
from streams.committed import committed
from streams.lanes import Lanes
from streams.settings import Settings
from tests.streams.test_lanes import Copying, _all_of, numbered, running
from tests.support import topics

pytestmark = pytest.mark.timeout(120)


class Loading:
    """Answers OffsetFetch as a broker does that is not, or not yet, the group's coordinator.

    No partition, and the error beside them; `times` for each client, then as the broker says.
    """

    def __init__(self, patch: pytest.MonkeyPatch, code: int, times: int = 1) -> None:
        self.refused: Counter[int] = Counter()
        self._code, self._times = code, times
        self._send = AIOKafkaClient.send

        async def send(client: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
            if isinstance(request, OffsetFetchRequest) and self.refused[id(client)] < times:
                self.refused[id(client)] += 1
                return OffsetFetchResponse_v3(0, [], code)
            return await self._send(client, node, request, **options)

        patch.setattr(AIOKafkaClient, "send", send)


async def commit(settings: Settings, group: str, topic: str, offset: int) -> TopicPartition:
    await topics.create(settings, topic, partitions=1)
    part = TopicPartition(topic, 0)
    consumer = connect.consumer(settings, group_id=group)
    consumer.assign([part])
    await consumer.start()
    try:
        await consumer.commit({part: OffsetAndMetadata(offset, "place")})
    finally:
        await consumer.stop()
    return part


@pytest.mark.parametrize(
    "error", [GroupLoadInProgressError, NotCoordinatorForGroupError], ids=lambda e: e.message
)
async def test_an_error_beside_the_partitions_is_not_nothing_committed(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch, error: type[KafkaError]
) -> None:
    group = f"committed.{error.errno}"
    part = await commit(cluster, group, group, 7)
    admin = connect.admin(cluster)
    await admin.start()
    try:
        loading = Loading(monkeypatch, error.errno, times=3)
        assert await committed(admin, group, [part]) == {part: OffsetAndMetadata(7, "place")}
        assert loading.refused.total() == 3
        assert await committed(admin, "nobody", [part]) == {}
    finally:
        await admin.close()


async def test_a_coordinator_that_never_says_is_an_error(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_COORDINATOR_S", 0.3)
    Loading(monkeypatch, GroupLoadInProgressError.errno, times=10_000)
    admin = connect.admin(cluster)
    await admin.start()
    try:
        with pytest.raises(GroupLoadInProgressError):
            await committed(admin, "committed.never")
    finally:
        await admin.close()


async def test_lanes_that_open_while_the_coordinator_loads_go_on_where_they_were(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker's death moved the coordinator: a lane began anew and doubled 45,637 answers."""
    await topics.create(cluster, "loading.in", "loading.out")
    await topics.publish(cluster, "loading.in", numbered(100))
    async with running(Lanes(cluster, ["loading.in"], Copying("loading", "loading.out"))):
        await _all_of(cluster, "loading.out", 100)
    Loading(monkeypatch, GroupLoadInProgressError.errno)
    await topics.publish(cluster, "loading.in", numbered(120)[100:])
    async with running(Lanes(cluster, ["loading.in"], Copying("loading", "loading.out"))):
        records = await _all_of(cluster, "loading.out", 120)
    assert Counter(record.json()["n"] for record in records) == Counter(range(120))
