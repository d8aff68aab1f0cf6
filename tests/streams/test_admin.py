"""What `apply` and `describe` promise about the catalogue's topics, on a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.topics import CATALOGUE, FEED_EVENTS, MODELS, RESULTS
from streams import cluster as clients
from streams.admin import RepartitionError, TopicError, apply, describe
from streams.incremental_configs import IncrementalAlterConfigs
from streams.settings import Settings


async def alter(settings: Settings, topic: str, **configs: str) -> None:
    client = clients.admin(settings)
    await client.start()
    try:
        wanted = {name.replace("_", "."): value for name, value in configs.items()}
        answer = await client._send_request(IncrementalAlterConfigs({topic: wanted}))
        assert [code for code, *_ in answer.responses] == [0]
    finally:
        await client.close()


async def delete(settings: Settings, *topics: str) -> None:
    client = clients.admin(settings)
    await client.start()
    try:
        await client.delete_topics(list(topics))
        async with asyncio.timeout(20):
            while set(topics) & set(await client.list_topics()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await client.close()


async def actions(settings: Settings) -> dict[str, str]:
    return {change.topic: change.action for change in await apply(settings)}


@pytest.fixture
async def empty(cluster: Settings) -> Settings:
    """The cluster with none of the catalogue's topics."""
    present = [state.topic for state in await describe(cluster) if state.partitions]
    if present:
        await delete(cluster, *present)
    return cluster


async def test_missing_topics_are_created_as_the_catalogue_says_and_once(empty: Settings) -> None:
    assert set((await actions(empty)).values()) == {"created"}
    assert set((await actions(empty)).values()) == {"unchanged"}
    for state in await describe(empty):
        topic = CATALOGUE[state.topic]
        assert state.partitions == (topic.partitions or empty.partitions)
        assert state.replication == 1
        assert state.configs == topic.configs()
        assert (state.earliest, state.latest) == (0, 0)


async def test_calls_at_the_same_time_make_each_topic_once(empty: Settings) -> None:
    made = await asyncio.gather(*(actions(empty) for _ in range(4)))
    for topic in CATALOGUE:
        assert sorted(done[topic] for done in made) == ["created", *["unchanged"] * 3]


async def test_topics_can_be_written_to_when_apply_returns(
    empty: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await apply(empty)
    producer = clients.producer(empty)
    await producer.start()
    try:
        for partition in range(empty.partitions):
            await producer.send_and_wait(FEED_EVENTS.name, b"{}", partition=partition)
    finally:
        await producer.stop()
    assert "NotLeader" not in caplog.text


async def test_a_setting_that_differs_is_altered_and_others_are_left(empty: Settings) -> None:
    await apply(empty)
    await alter(empty, RESULTS.name, retention_ms="1000", segment_bytes="2097152")
    changes = {change.topic: change for change in await apply(empty)}
    assert changes[RESULTS.name].action == "altered"
    assert changes[RESULTS.name].detail == "retention.ms 1000 to 604800000"
    assert {change.action for name, change in changes.items() if name != RESULTS.name} == {
        "unchanged"
    }
    client = clients.admin(empty)
    await client.start()
    try:
        assert await _setting(client, RESULTS.name, "segment.bytes") == "2097152"
    finally:
        await client.close()


async def test_topics_without_records_get_more_partitions(empty: Settings) -> None:
    await apply(empty)
    more = empty.model_copy(update={"partitions": 6})
    changes = {change.topic: change for change in await apply(more)}
    assert changes[FEED_EVENTS.name].detail == "partitions 4 to 6"
    assert changes[MODELS.name].action == "unchanged"
    assert {state.partitions for state in await describe(more)} == {1, 6}


async def test_a_topic_is_never_shrunk_and_nothing_else_is_done(empty: Settings) -> None:
    await apply(empty)
    await delete(empty, RESULTS.name)
    fewer = empty.model_copy(update={"partitions": 2})
    with pytest.raises(RepartitionError, match="Set HEADRACE_PARTITIONS=4") as refused:
        await apply(fewer)
    assert (FEED_EVENTS.name, 4, 2) in refused.value.topics
    assert MODELS.name not in str(refused.value)
    states = {state.topic: state for state in await describe(empty)}
    assert states[RESULTS.name].partitions == 0


async def test_a_topic_with_records_is_not_grown(empty: Settings) -> None:
    await apply(empty)
    producer = clients.producer(empty)
    await producer.start()
    try:
        await producer.send_and_wait(FEED_EVENTS.name, b"{}")
    finally:
        await producer.stop()
    with pytest.raises(RepartitionError, match="keys would move") as refused:
        await apply(empty.model_copy(update={"partitions": 6}))
    assert refused.value.topics == [(FEED_EVENTS.name, 4, 6)]
    states = {state.topic: state for state in await describe(empty)}
    assert states[FEED_EVENTS.name].latest == 1
    assert states[RESULTS.name].partitions == 4


async def test_more_replicas_than_brokers_is_refused_with_the_setting_named(
    empty: Settings,
) -> None:
    with pytest.raises(TopicError, match="HEADRACE_REPLICATION"):
        await apply(empty.model_copy(update={"replication": 3}))


async def test_topics_of_others_are_not_touched(empty: Settings) -> None:
    client = clients.admin(empty)
    await client.start()
    try:
        await client.create_topics([NewTopic("others", 3, 1)])
        await apply(empty)
        assert "others" in await client.list_topics()
        assert "others" not in {state.topic for state in await describe(empty)}
    finally:
        await client.close()


async def _setting(client: AIOKafkaAdminClient, topic: str, name: str) -> str:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: ""})
    (answer,) = await client.describe_configs([resource])
    return str(answer.resources[0][4][0][1])
