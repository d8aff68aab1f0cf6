"""The context of what is said about a record is a pure function of the record."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from schemas.topics import ALERTS, RESULTS
from streams import tracing
from streams.message import Message
from streams.tracing import HEADER, STATE_HEADER

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + b"00"
ANSWER = Message(RESULTS.name, b"ALDR", b"{}", [("ce_id", b"result:1")])


def record(*headers: tuple[str, bytes | None], offset: int = 7) -> Any:
    return SimpleNamespace(
        topic="kernel.requests.standard",
        partition=1,
        offset=offset,
        timestamp=1_772_000_000_000,
        key=b"ALDR",
        value=b'{"id": "own"}',
        headers=headers,
    )


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing to memory."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    exporter = InMemorySpanExporter()
    with tracing.tracing("kernel", exporter):
        yield exporter


def said(source: Any) -> dict[str, bytes]:
    """Headers of the answer to a record, which the kernel then has committed."""
    hop = tracing.hop("kernel", source)
    assert hop is not None
    message = hop.on(ANSWER)
    hop.end()
    return dict(message.headers)


def test_off_a_record_without_a_context_costs_nothing_and_one_with_it_is_passed_on() -> None:
    assert tracing.hop("kernel", record()) is None
    source = record((HEADER, PARENT), (STATE_HEADER, b"vendor=1"))
    assert said(source) == {"ce_id": b"result:1", HEADER: PARENT, STATE_HEADER: b"vendor=1"}
    assert tracing.sent(ANSWER) is ANSWER


def test_a_replay_says_the_same_context_again(spans: InMemorySpanExporter) -> None:
    for source in (record(), record((HEADER, PARENT))):
        assert said(source) == said(source)
    one, other = said(record(offset=1)), said(record(offset=2))
    assert one[HEADER] != other[HEADER]
    assert one[HEADER].split(b"-")[1] != other[HEADER].split(b"-")[1], "traces of their own"
    assert len(spans.get_finished_spans()) == 6


def test_the_publisher_s_trace_goes_on(spans: InMemorySpanExporter) -> None:
    headers = said(record((HEADER, PARENT), (STATE_HEADER, b"vendor=1")))
    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}".encode() == PARENT.split(b"-")[1]
    assert f"{span.parent.span_id:016x}".encode() == PARENT.split(b"-")[2]
    assert headers[HEADER].split(b"-")[2] == f"{span.context.span_id:016x}".encode()
    assert headers[STATE_HEADER] == b"vendor=1"


def test_the_header_of_kafka_counts_before_that_of_cloudevents(
    spans: InMemorySpanExporter,
) -> None:
    other = PARENT.replace(b"0af7", b"1111")
    assert b"0af7" in said(record(("ce_traceparent", other), (HEADER, PARENT)))[HEADER]
    assert b"1111" in said(record(("ce_traceparent", other)))[HEADER]
    assert len(spans.get_finished_spans()) == 2


def test_what_a_publisher_does_not_sample_makes_no_span_and_stays_unsampled(
    spans: InMemorySpanExporter,
) -> None:
    header = said(record((HEADER, UNSAMPLED)))[HEADER]
    assert header.startswith(PARENT[:35])
    assert header.endswith(b"-00")
    assert spans.get_finished_spans() == ()


@given(st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f-]{0,60}"))
def test_a_context_that_cannot_be_read_is_no_context_and_no_error(wild: bytes) -> None:
    found = tracing.parent_of(record((HEADER, wild)))
    if found is not None:
        assert found.trace_id
        assert found.span_id


@pytest.mark.parametrize(
    "header",
    [
        b"",
        PARENT.upper(),
        PARENT + b"-more",
        b"ff" + PARENT[2:],
        PARENT.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32),
        PARENT.replace(b"b7ad6b7169203331", b"0" * 16),
        b"\xff" * 55,
    ],
)
def test_these_are_not_contexts(header: bytes) -> None:
    assert tracing.parent_of(record((HEADER, header))) is None


def test_a_message_near_its_topic_s_limit_goes_without_rather_than_not_at_all() -> None:
    hop = tracing.hop("finance.alerts", record((HEADER, PARENT)))
    assert hop is not None
    large = Message(ALERTS.name, b"ALDR", b"x" * (ALERTS.max_message_bytes - 500), [])
    assert hop.on(large) is large


def test_a_message_that_begins_a_trace_is_sent_in_a_span(spans: InMemorySpanExporter) -> None:
    message = tracing.sent(ANSWER)
    (span,) = spans.get_finished_spans()
    assert span.name == "send kernel.results"
    assert span.context is not None
    assert f"{span.context.span_id:016x}".encode() in dict(message.headers)[HEADER]
    assert tracing.sent(message) is message


def test_an_event_is_called_by_the_id_that_it_has() -> None:
    assert tracing.event_id(record(("ce_id", b"given"))) == "given"
    assert tracing.event_id(record()) == "own"
    bare = record()
    bare.value = b"\x00 not json"
    assert tracing.event_id(bare) == "kernel.requests.standard:1:7"
