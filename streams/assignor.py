"""Who of a group gets which partitions: each topic is shared out by itself, and moves little.

Kafka's sticky assignor evens out the count of partitions over all topics together. Of a
service that reads several topics, a second process is then given whole topics: a kernel
all of `bulk` and `interactive`, say, while every partition of `standard`, on which the
load is, stays with the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyAssignmentExecutor,
    StickyPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment


class EachTopicSticky(StickyPartitionAssignor):  # type: ignore[misc]
    """The sticky assignor, run for one topic after the other."""

    name = "headrace-each-topic-sticky"

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Assignments by member id; counts of a topic's partitions differ by one at most."""
        known = {name: cls.parse_member_metadata(one) for name, one in members.items()}
        found: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in members}
        for topic in sorted({topic for one in known.values() for topic in one.subscription}):
            executor = StickyAssignmentExecutor(
                _OneTopic(cluster, topic),
                {
                    name: one._replace(
                        partitions=[part for part in one.partitions if part.topic == topic],
                        subscription=[topic],
                    )
                    for name, one in known.items()
                    if topic in one.subscription
                },
            )
            executor.perform_initial_assignment()
            executor.balance()
            for name, one in known.items():
                if topic in one.subscription:
                    for its_topic, partitions in executor.get_final_assignment(name):
                        found[name][its_topic] += partitions
        return {
            name: ConsumerProtocolMemberAssignment(cls.version, sorted(given.items()), b"")
            for name, given in found.items()
        }


class _OneTopic:
    """The cluster as if it had one topic."""

    def __init__(self, cluster: Any, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic

    def topics(self) -> set[str]:
        return {self._topic}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        found: set[int] | None = self._cluster.partitions_for_topic(topic)
        return found
