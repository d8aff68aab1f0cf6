"""One trace leads from a feed event to the alert that it causes, through every service.

Real services over the real broker export to a small collector in this process.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kernel import registry
from proof import tiny_model
from schemas.events import ModelVersion
from schemas.ids import model_key
from schemas.topics import ALERTS, FEED_EVENTS
from streams import cluster as clients
from streams.message import Message
from streams.publishing import publisher
from streams.reading import assigned, partitions, up_to
from streams.settings import Settings
from tests.support.site import service

SERVICES = (
    ("kernel",),
    ("relay",),
    ("agent", "finance.reader"),
    ("agent", "finance.alerts"),
)
PUBLISHER = "0af7651916cd43dd8448eb211c80319c"
"""Trace of the publisher of the event that tips the scale."""
WAIT_S = 60.0


class Collector:
    """An OTLP/HTTP receiver: the spans that arrived, by trace."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: dict[bytes, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, request: Any) -> None:
        for of_service in request.resource_spans:
            names = {one.key: one.value.string_value for one in of_service.resource.attributes}
            for scope in of_service.scope_spans:
                for span in scope.spans:
                    self.services[span.span_id] = names["service.name"]
                    self.spans.append(span)

    def trace(self, trace_id: str) -> list[Any]:
        return [span for span in list(self.spans) if span.trace_id.hex() == trace_id]

    @contextmanager
    def running(self) -> Iterator[Collector]:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


@pytest.fixture(scope="module")
def collector(cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector, and the services that export to it."""
    asyncio.run(_announce(cluster, tmp_path_factory.mktemp("scratch")))
    with ExitStack() as held, pytest.MonkeyPatch.context() as patch:
        found = held.enter_context(Collector().running())
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        for role in SERVICES:
            held.enter_context(service(cluster, *role))
        yield found


async def _announce(settings: Settings, scratch: Path) -> None:
    address, digest = tiny_model.make(settings.models, "tiny", scratch)
    version = ModelVersion(
        id=model_key("sentiment", "tiny"),
        task="sentiment",
        version="tiny",
        state="live",
        labels=tiny_model.LABELS,
        artefact=address,
        digest=digest,
        changed_at=datetime.now(UTC),
    )
    producer = clients.producer(settings)
    await producer.start()
    try:
        await registry.announce(producer, [version], "test")
    finally:
        await producer.stop()


def event(name: str, minute: int, *headers: tuple[str, bytes]) -> Message:
    body = {
        "id": name,
        "text": "Corwick Steel bad bad bad",
        "tickers": ["CRWK"],
        "source": "wire",
        "published_at": f"2026-03-02T09:{minute:02d}:00Z",
    }
    return Message(FEED_EVENTS.name, b"wire", orjson.dumps(body), list(headers))


async def alert(settings: Settings) -> Any:
    """The first alert on its topic."""
    parts = await partitions(settings, [ALERTS.name])
    async with assigned(settings, parts) as consumer:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            async for record in up_to(consumer, parts, await consumer.end_offsets(parts)):
                return record
            await asyncio.sleep(0.1)
    raise AssertionError("no alert came")


def until(found: Any, wanted: int) -> list[Any]:
    deadline = time.monotonic() + WAIT_S
    while len(found()) < wanted:
        assert time.monotonic() < deadline, [span.name for span in found()]
        time.sleep(0.1)
    spans: list[Any] = found()
    return spans


async def test_one_trace_leads_from_the_publisher_s_span_to_the_alert(
    cluster: Settings, collector: Collector
) -> None:
    async with publisher(cluster) as sender:
        for minute in range(12):
            parent = f"00-{PUBLISHER}-{minute + 1:016x}-01".encode()
            await sender.send(event(f"bad-{minute}", minute, ("traceparent", parent)))
    found = await alert(cluster)
    headers = dict(found.headers)
    trace_id, last = headers["traceparent"].decode().split("-")[1:3]
    assert trace_id == PUBLISHER, "the publisher's own trace goes on"

    chain = await asyncio.to_thread(_chain, collector, trace_id, last)
    assert [(collector.services[span.span_id], span.name) for span in chain] == [
        ("relay", "process agents.outbox"),
        ("finance.alerts", "process kernel.results"),
        ("kernel", "process kernel.requests.standard"),
        ("finance.reader", "process feed.events"),
    ]
    assert 1 <= int(chain[-1].parent_span_id.hex(), 16) <= 12, "the publisher's span"
    for span in chain:
        assert span.kind == span.SPAN_KIND_CONSUMER
        said = {one.key: one.value for one in span.attributes}
        assert said["messaging.system"].string_value == "kafka"
        assert said["messaging.operation.name"].string_value == "process"
        assert span.name == f"process {said['messaging.destination.name'].string_value}"
        assert said["messaging.kafka.offset"].int_value >= 0
        assert span.end_time_unix_nano >= span.start_time_unix_nano
    assert {one.key: one.value.string_value for one in chain[-1].attributes}[
        "messaging.message.id"
    ].startswith("bad-")


def _chain(collector: Collector, trace_id: str, span_id: str) -> list[Any]:
    """The span of this id and those above it, as far as they are ours."""
    by_id: dict[str, Any] = {}

    def known() -> list[Any]:
        by_id.update({span.span_id.hex(): span for span in collector.trace(trace_id)})
        chain, at = [], span_id
        while at in by_id:
            chain.append(by_id[at])
            at = by_id[at].parent_span_id.hex()
        return chain

    return until(known, len(SERVICES))


async def test_a_refused_event_s_span_says_why_and_its_dead_letter_carries_the_trace(
    cluster: Settings, collector: Collector
) -> None:
    trace_id = "11" * 16
    parent = f"00-{trace_id}-{7:016x}-01".encode()
    poison = Message(FEED_EVENTS.name, b"wire", b"not json", [("ce_traceparent", parent)])
    async with publisher(cluster) as sender:
        await sender.send(poison)

    # Each service exports in its own time, so neither span comes first.
    def both() -> list[Any]:
        return list(collector.trace(trace_id))

    spans = {one.name: one for one in await asyncio.to_thread(until, both, 2)}
    assert set(spans) == {"process feed.events", "process agents.outbox"}
    span, relayed = spans["process feed.events"], spans["process agents.outbox"]
    assert relayed.parent_span_id == span.span_id
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert {one.key: one.value.string_value for one in span.attributes}["error.type"] == "not-json"


async def test_an_event_without_a_context_begins_a_trace_when_it_is_published(
    cluster: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    async with publisher(cluster) as sender:
        await sender.send(event("fresh", 40))

    def sent() -> list[Any]:
        return [span for span in list(collector.spans) if span.name == "send feed.events"]

    (span,) = await asyncio.to_thread(until, sent, 1)
    assert span.kind == span.SPAN_KIND_PRODUCER
    assert not span.parent_span_id

    def read() -> list[Any]:
        found = collector.trace(span.trace_id.hex())
        return [one for one in found if one.parent_span_id == span.span_id]

    (taken,) = await asyncio.to_thread(until, read, 1)
    assert taken.name == "process feed.events"
