"""`/metrics`: what is counted is what is exposed, in both formats, under bounded labels."""

from __future__ import annotations

import math
import urllib.request
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ErrorClass
from schemas.topics import OUTBOX
from streams import metrics
from streams.broker_folder import free_port
from streams.distribution import BOUNDS, PER_DOUBLING, Distribution
from streams.exposition import Exposition, exposed
from streams.lane import LaneStats
from streams.lane_metrics import lane_samples
from streams.lanes import Lanes
from streams.metrics import METRICS, Sample
from streams.protobuf_exposition import CONTENT_TYPE
from streams.relay import RelayHandler
from streams.settings import Settings

seconds = st.lists(st.just(0.0) | st.floats(1e-6, 200), max_size=50)
# Its types are not installed here.
descriptor_pb2: Any = import_module("google.protobuf.descriptor_pb2")
descriptor_pool: Any = import_module("google.protobuf.descriptor_pool")
message_factory: Any = import_module("google.protobuf.message_factory")


def distribution(values: list[float]) -> Distribution:
    found = Distribution()
    for value in values:
        found.observe(value)
    return found


@given(seconds)
def test_classic_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    found = dict(distribution(values).buckets())
    for bound in BOUNDS:
        assert found[bound] == sum(value <= bound for value in values)
    assert found[math.inf] == len(values) == distribution(values).count


@given(seconds)
def test_a_native_bucket_holds_a_value_within_an_eighth_of_a_doubling(values: list[float]) -> None:
    found = distribution(values)
    expected: Counter[int] = Counter()
    for value in filter(None, values):
        index = math.ceil(math.log2(value) * PER_DOUBLING)
        assert 2 ** ((index - 1) / 8) < value * (1 + 1e-9)
        assert value <= 2 ** (index / 8) * (1 + 1e-9)
        expected[index] += 1
    assert found.counts() == expected
    assert found.zeros == values.count(0)


@given(seconds, seconds)
def test_lanes_add_up(one: list[float], other: list[float]) -> None:
    whole = Distribution.sum([distribution(one), distribution(other)])
    assert whole.buckets() == distribution([*one, *other]).buckets()
    assert whole.total == pytest.approx(sum(one) + sum(other))


@given(seconds)
def test_protobuf_says_the_same_as_the_text_and_adds_native_buckets(values: list[float]) -> None:
    found = distribution(values)
    samples = [Sample(metrics.COMMIT, found, ("kernel",)), Sample(metrics.FETCHED, 7, ("kernel",))]
    exposition = Exposition(Settings(), "kernel", lambda: samples)
    body, content_type = exposition.answer("application/vnd.google.protobuf;q=0.6,text/plain;q=0.5")
    assert content_type == CONTENT_TYPE
    families = {family.name: family for family in decoded(body)}
    (counter,) = families["headrace_lane_fetched_total"].metric
    assert counter.counter.value == 7
    assert [(pair.name, pair.value) for pair in counter.label] == [("service", "kernel")]
    assert families["process_resident_memory_bytes"].metric[0].gauge.value > 0

    (metric,) = families["headrace_lane_commit_seconds"].metric
    histogram = metric.histogram
    assert histogram.sample_count == len(values)
    assert histogram.sample_sum == pytest.approx(sum(values))
    assert [(one.upper_bound, one.cumulative_count) for one in histogram.bucket] == (
        found.buckets()[:-1]
    )
    assert histogram.schema == 3
    assert histogram.zero_count == values.count(0)
    assert histogram.positive_span, "it is a native histogram also where it is empty"
    assert native_counts(histogram) == found.counts()


def test_a_service_serves_its_lanes_counters_on_its_port_and_ends_with_it(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, metrics_port=free_port())
    lanes = Lanes(settings, [OUTBOX.name], RelayHandler())
    stats = lanes.stats[TopicPartition(OUTBOX.name, 0)] = LaneStats(
        fetched=5, messages=3, replays=1
    )
    stats.dead_letters[ErrorClass.NOT_JSON] += 2
    stats.commit_s.observe(0.02)
    url = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    with exposed(settings, "relay", lambda: lane_samples("relay", lanes)):
        stats.fetched += 1
        found = scraped(url)
        assert found["headrace_lane_fetched_total", "relay"] == 6
        assert found["headrace_lane_messages_total", "relay"] == 3
        assert found["headrace_lane_commit_seconds_count", "relay"] == 1
        assert found["headrace_dead_letters_total", "not-json", "relay"] == 2
        assert found["headrace_dead_letters_total", "bad-time", "relay"] == 0
        assert found["headrace_oldest_unanswered_seconds", "relay"] == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data=tmp_path, metrics_port=free_port())
    with exposed(settings, "one"), exposed(settings, "two"):
        assert ("headrace_build_info", "one", "0.1.0") in scraped(
            f"http://127.0.0.1:{settings.metrics_port}/metrics"
        )
    assert "no metrics" in caplog.text


def test_names_and_labels_keep_to_the_customs_of_prometheus() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("headrace_")
        assert name.endswith("_total") == (metric.kind == "counter")
        assert name.endswith("_seconds") or metric.kind != "histogram"
        assert set(metric.labels) <= {
            "service", "version", "error_class", "task", "outcome", "group", "topic",
        }, "labels are bounded: never a key, an id or a text"  # fmt: skip
        assert metric.about.endswith(".")


def scraped(url: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  (our own port)
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def native_counts(histogram: Any) -> dict[int, int]:
    counts: dict[int, int] = {}
    index, count = 0, 0
    deltas = iter(histogram.positive_delta)
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            counts[index] = count
            index += 1
    return counts


def decoded(body: bytes) -> list[Any]:
    """The families of a delimited body, by Google's own decoder."""
    found, place = [], 0
    while place < len(body):
        length, shift = 0, 0
        while True:
            byte, place = body[place], place + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        family = FAMILY()
        family.ParseFromString(body[place : place + length])
        found.append(family)
        place += length
    return found


def _message_of_families() -> Any:
    """The message class, from what the client model says of the fields that are used."""
    kinds = descriptor_pb2.FieldDescriptorProto
    text, double, uint64 = kinds.TYPE_STRING, kinds.TYPE_DOUBLE, kinds.TYPE_UINT64
    sint32, sint64, uint32 = kinds.TYPE_SINT32, kinds.TYPE_SINT64, kinds.TYPE_UINT32
    messages: dict[str, dict[str, tuple[int, int | str, bool]]] = {
        "LabelPair": {"name": (1, text, False), "value": (2, text, False)},
        "Gauge": {"value": (1, double, False)},
        "Counter": {"value": (1, double, False)},
        "Untyped": {"value": (1, double, False)},
        "Bucket": {"cumulative_count": (1, uint64, False), "upper_bound": (2, double, False)},
        "BucketSpan": {"offset": (1, sint32, False), "length": (2, uint32, False)},
        "Histogram": {
            "sample_count": (1, uint64, False),
            "sample_sum": (2, double, False),
            "bucket": (3, "Bucket", True),
            "schema": (5, sint32, False),
            "zero_threshold": (6, double, False),
            "zero_count": (7, uint64, False),
            "positive_span": (12, "BucketSpan", True),
            "positive_delta": (13, sint64, True),
        },
        "Metric": {
            "label": (1, "LabelPair", True),
            "gauge": (2, "Gauge", False),
            "counter": (3, "Counter", False),
            "untyped": (5, "Untyped", False),
            "histogram": (7, "Histogram", False),
        },
        "MetricFamily": {
            "name": (1, text, False),
            "help": (2, text, False),
            "type": (3, kinds.TYPE_INT32, False),
            "metric": (4, "Metric", True),
        },
    }
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="p", syntax="proto2")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".p.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.MetricFamily"))


FAMILY = _message_of_families()
