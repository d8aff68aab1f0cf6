from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import REQUESTS
from streams.assignor import EachTopicSticky

TOPICS = [topic.name for topic in REQUESTS.values()]
Owned = dict[str, set[tuple[str, int]]]


class Cluster:
    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def topics(self) -> set[str]:
        return set(TOPICS)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._partitions)) if topic in TOPICS else None


def assigned(partitions: int, before: Mapping[str, Sequence[tuple[str, int]]]) -> Owned:
    members: dict[str, Any] = {}
    for name, had in before.items():
        parts = [TopicPartition(topic, number) for topic, number in had]
        members[name] = EachTopicSticky._metadata(TOPICS, parts or None, 1)
    found = EachTopicSticky.assign(Cluster(partitions), members)
    return {
        name: {(topic, number) for topic, numbers in one.assignment for number in numbers}
        for name, one in found.items()
    }


@given(partitions=st.integers(1, 12), members=st.integers(1, 6), more=st.integers(0, 3))
def test_every_topic_is_shared_out_evenly_whoever_joins(
    partitions: int, members: int, more: int
) -> None:
    before = assigned(partitions, {f"m{number}": () for number in range(members)})
    after = assigned(
        partitions,
        {name: sorted(had) for name, had in before.items()}
        | {f"n{number}": () for number in range(more)},
    )
    for owned in (before, after):
        for topic in TOPICS:
            counts = [sum(one == topic for one, _ in has) for has in owned.values()]
            assert sum(counts) == partitions
            assert max(counts) - min(counts) <= 1


def test_a_second_kernel_gets_half_of_each_urgency_and_the_first_keeps_the_rest() -> None:
    first = assigned(4, {"a": ()})
    both = assigned(4, {"a": sorted(first["a"]), "b": ()})
    for topic in TOPICS:
        assert sum(one == topic for one, _ in both["b"]) == 2
    assert both["a"] == first["a"] - both["b"]


def test_nothing_moves_when_nobody_comes_or_goes() -> None:
    before = assigned(4, {"a": (), "b": (), "c": ()})
    after = assigned(4, {name: sorted(had) for name, had in before.items()})
    assert before == after
