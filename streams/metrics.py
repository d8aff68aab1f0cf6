"""Every metric that Headrace exposes: its name, type, labels and meaning, once.

A service reads its own counters when it is scraped (`streams.exposition`); there is no second
set of them. Labels are bounded: a service, a topic, a group, an error class or a task, never a
key, an id or a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from streams.distribution import Distribution

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as it is named on the wire; a counter's name ends in `_total`."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """One reading of a metric; `labels` are values in the order of the metric's names."""

    metric: Metric
    value: float | Distribution
    labels: tuple[str, ...] = ()


Read = Callable[[], Iterable[Sample]]
"""Reads what a part of a service counts; called by the thread that answers a scrape."""

METRICS: Final[dict[str, Metric]] = {}


def _metric(name: str, kind: Kind, about: str, *labels: str) -> Metric:
    METRICS[name] = metric = Metric(name, kind, about, labels)
    return metric


BUILD: Final = _metric(
    "headrace_build_info", "gauge", "1, for the release that runs.", "service", "version"
)
DISK_FREE: Final = _metric(
    "headrace_data_free_bytes", "gauge", "Free bytes on the disk of the data folder.", "service"
)
DISK_SIZE: Final = _metric(
    "headrace_data_size_bytes", "gauge", "Size of the disk of the data folder.", "service"
)

LANES: Final = _metric("headrace_lanes", "gauge", "Lanes that this process keeps.", "service")
LANES_OPENED: Final = _metric(
    "headrace_lane_opened_total", "counter", "Times that a lane was opened.", "service"
)
FETCHED: Final = _metric(
    "headrace_lane_fetched_total", "counter", "Records that lanes have fetched.", "service"
)
MESSAGES: Final = _metric(
    "headrace_lane_messages_total", "counter", "Messages committed by lanes.", "service"
)
REPLAYS: Final = _metric(
    "headrace_lane_replays_total", "counter", "Records dropped as replays by lanes.", "service"
)
COMMIT: Final = _metric(
    "headrace_lane_commit_seconds", "histogram", "Time of one transaction of a lane.", "service"
)
IN_FLIGHT: Final = _metric(
    "headrace_lane_in_flight", "gauge", "Records fetched and not yet committed.", "service"
)
OLDEST: Final = _metric(
    "headrace_oldest_unanswered_seconds",
    "gauge",
    "Age of the oldest record in work, by its own time; 0 where none is.",
    "service",
)
DEAD_LETTERS: Final = _metric(
    "headrace_dead_letters_total",
    "counter",
    "Records that became dead letters.",
    "service",
    "error_class",
)

BATCHES: Final = _metric("headrace_kernel_batches_total", "counter", "Forward passes of models.")
TOKENS: Final = _metric(
    "headrace_kernel_tokens_total", "counter", "Tokens scored, without padding."
)
PADDED_TOKENS: Final = _metric(
    "headrace_kernel_padded_tokens_total", "counter", "Tokens scored, with padding."
)
FORWARD: Final = _metric(
    "headrace_kernel_forward_seconds", "histogram", "Time of one forward pass."
)
CACHE_HITS: Final = _metric(
    "headrace_kernel_cache_hits_total", "counter", "Requests answered from the result cache."
)
SHARED: Final = _metric(
    "headrace_kernel_shared_total", "counter", "Requests answered by the pass of an equal one."
)
EXPIRED: Final = _metric(
    "headrace_kernel_expired_total", "counter", "Requests whose deadline came before a pass."
)
QUEUED: Final = _metric(
    "headrace_kernel_queued", "gauge", "Requests ready that no batch has taken yet."
)

EVENTS: Final = _metric(
    "headrace_agent_events_total", "counter", "Events that an agent has processed.", "service"
)
CHECKPOINTS: Final = _metric(
    "headrace_agent_checkpoints_total", "counter", "Checkpoints that an agent has made.", "service"
)
CHECKPOINT: Final = _metric(
    "headrace_agent_checkpoint_seconds",
    "histogram",
    "Time of one checkpoint: deliveries, states, offsets.",
    "service",
)
UNDELIVERED: Final = _metric(
    "headrace_agent_undelivered",
    "gauge",
    "Messages sent and not yet acknowledged by the brokers.",
    "service",
)
WAITING: Final = _metric(
    "headrace_agent_waiting", "gauge", "Events fetched and not yet processed.", "service"
)

RUNS: Final = _metric(
    "headrace_trainer_runs_total", "counter", "Training runs by how they ended.", "task", "outcome"
)
LABELS: Final = _metric(
    "headrace_trainer_labels_total", "counter", "Labelled examples that the trainer has taken."
)
ELECTED: Final = _metric(
    "headrace_trainer_elected", "gauge", "1 where this trainer works, 0 where it stands by."
)

LAG: Final = _metric(
    "headrace_consumer_lag",
    "gauge",
    "Offsets between a group's commit and the end, over all partitions of a topic.",
    "group",
    "topic",
)
OLDEST_REQUEST: Final = _metric(
    "headrace_oldest_request_seconds",
    "gauge",
    "Age of the oldest request that waits for its answer.",
    "topic",
)
BROKERS: Final = _metric("headrace_brokers", "gauge", "Brokers that the cluster names.")
