"""The catalogue, the services over it, and ids."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.service import NAMES, load
from schemas import ids
from schemas.envelope import TYPES
from schemas.events import Cause, DeadLetter
from schemas.services import KERNEL, RELAY, SERVICES
from schemas.topics import (
    CATALOGUE,
    DEAD_LETTERS,
    MAX_MESSAGE_BYTES,
    OUTBOX,
    REQUESTS,
    RESULTS,
    SHADOW,
    SWAPS,
    Topic,
)
from streams.settings import Settings

KAFKA_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")

topics = pytest.mark.parametrize("topic", CATALOGUE.values(), ids=lambda topic: topic.name)


def test_no_two_topics_share_a_name_even_for_kafkas_metrics() -> None:
    # Kafka takes `.` and `_` for the same in metric names and warns of collisions.
    names = [name.replace(".", "_") for name in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(name == topic.name for name, topic in CATALOGUE.items())


@topics
def test_a_topic_has_a_legal_name_and_says_what_it_is(topic: Topic) -> None:
    assert KAFKA_NAME.fullmatch(topic.name)
    assert topic.about.endswith(".")
    assert topic.key
    assert topic.partitions is None or topic.partitions > 0


@topics
def test_a_compacted_topic_forgets_nothing_by_age(topic: Topic) -> None:
    configs = topic.configs()
    assert configs["cleanup.policy"] == ("compact" if topic.compacted else "delete")
    if topic.compacted:
        assert configs["retention.ms"] == "-1"
    assert int(configs["retention.ms"]) == -1 or int(configs["retention.ms"]) >= 3_600_000


@topics
def test_every_client_can_send_what_a_topic_takes(topic: Topic) -> None:
    assert topic.max_message_bytes <= MAX_MESSAGE_BYTES


@topics
def test_every_topic_is_written_and_read_by_somebody(topic: Topic) -> None:
    assert any(topic in service.writes for service in SERVICES.values())
    assert any(topic in service.reads for service in SERVICES.values())


def test_every_event_type_has_a_topic_and_every_topic_but_the_outbox_a_type() -> None:
    carried = {topic.carries for topic in CATALOGUE.values()} - {None}
    assert carried == set(TYPES)
    assert [topic for topic in CATALOGUE.values() if topic.carries is None] == [OUTBOX]


def test_every_type_has_a_name_of_its_own_and_a_version() -> None:
    assert len(set(TYPES.values())) == len(TYPES)
    assert all(re.fullmatch(r"headrace\.[a-z.-]+\.v[1-9]\d*", name) for name in TYPES.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_services_says_what_an_agent_really_reads_and_emits(name: str) -> None:
    agent = load(Settings(), name)
    stated = SERVICES[name]
    direct = [topic for topic in agent.emits_to if topic in REQUESTS.values()]
    others = [topic for topic in agent.emits_to if topic not in direct]
    assert stated.reads == (agent.source,)
    assert stated.produces == tuple(direct)
    assert stated.by_outbox == (*others, DEAD_LETTERS)


def test_the_relay_writes_what_agents_say_through_the_outbox() -> None:
    said = [topic for service in SERVICES.values() for topic in service.by_outbox]
    assert RELAY.reads == (OUTBOX,)
    assert all(topic in RELAY.produces for topic in said)
    assert all(topic in said for topic in RELAY.produces)


def test_the_table_of_services_says_what_the_kernel_reads_and_writes() -> None:
    assert all(topic in KERNEL.reads for topic in REQUESTS.values())
    assert KERNEL.writes == (RESULTS, SWAPS, SHADOW, DEAD_LETTERS)


def test_a_dead_letter_has_room_for_the_largest_record_of_any_topic_that_is_read() -> None:
    largest = max(
        topic.max_message_bytes
        for topic in CATALOGUE.values()
        if topic.carries not in {None, DeadLetter}
    )
    in_the_body = largest * 4 // 3 + 16_384  # base64, and reason, position, versions
    as_its_own_key = largest
    for way in (DEAD_LETTERS, OUTBOX):
        assert way.max_message_bytes >= in_the_body + as_its_own_key


names = st.sampled_from(["finance.reader", "finance.trends", "a", "b"])
places = st.integers(min_value=0, max_value=2**63 - 1)
causes = st.builds(Cause, agent=names, topic=names, partition=places, offset=places, index=places)


@given(st.lists(causes, unique=True, min_size=2, max_size=20))
def test_different_positions_have_different_ids(found: list[Cause]) -> None:
    assert len({ids.emission_id(cause) for cause in found}) == len(found)


@given(causes)
def test_a_replay_says_the_same_id(cause: Cause) -> None:
    again = Cause(cause.agent, cause.topic, cause.partition, cause.offset, cause.index)
    assert ids.emission_id(again) == ids.emission_id(cause)


@given(names, places, places)
def test_ids_of_different_meanings_are_never_the_same(topic: str, part: int, offset: int) -> None:
    record = ids.record_id(topic, part, offset)
    letter = ids.dead_letter_id("kernel", topic, part, offset)
    assert len({record, letter, ids.result_id(record), ids.result_id(letter)}) == 4
