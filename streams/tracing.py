"""OpenTelemetry traces: one trace from a feed event to the alert that it causes.

On where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_TRACES_` form) is set; the other variables of
the OpenTelemetry specification count as well (sampler, batch sizes, headers, resource). Off,
a record's context is passed on to what is said about it, and nothing else is done.

A record's context is the W3C `traceparent` in the Kafka header of that name, else in the
CloudEvents extension `ce_traceparent`. One without gets a trace whose id is a digest of its
position. Ids of spans are digests too: of trace, service and position. The context of an
output is therefore a pure function of its source record, and a replay says it again.

Source: W3C Trace Context; OpenTelemetry's semantic conventions for messaging.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.errors import Unanswerable
from schemas.ids import group_id, record_id
from schemas.topics import CATALOGUE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from streams.message import Message

HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"
_EXTENSION: Final = "ce_traceparent"
_MAX_STATE_BYTES: Final = 512
_ROOM: Final = 700
"""For both headers: a message that is nearer to its topic's limit goes without."""
_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_LENGTH: Final = 55
"""Of a `traceparent` of the version that there is."""

handled: Final[ContextVar[Any]] = ContextVar("headrace.handled", default=None)
"""The record that this task is about, for its log lines."""
RECORD: Final = "headrace_record"
"""Under this name a log line's `extra` says which record it is about."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The context that came with a record."""

    trace_id: int
    span_id: int
    """0 where the record begins its trace."""
    flags: int
    state: bytes | None = None


@dataclass(slots=True)
class Hop:
    """A record in the hands of one service: the context of all that it says about it."""

    header: bytes
    """As `traceparent` says it."""
    state: bytes | None = None
    span: Span | None = None

    def on(self, message: Message) -> Message:
        """`message` with this context in place of any that it had."""
        topic = CATALOGUE.get(message.topic)
        if topic is not None and message.size + _ROOM > topic.max_message_bytes:
            return message
        headers = [one for one in message.headers if one[0] not in {HEADER, STATE_HEADER}]
        headers.append((HEADER, self.header))
        if self.state is not None:
            headers.append((STATE_HEADER, self.state))
        return replace(message, headers=headers)

    def refuse(self, verdict: Unanswerable) -> None:
        """Say on the span that the record became a dead letter."""
        if self.span is not None:
            self.span.set_attribute("error.type", verdict.error_class.value)
            _say_failed(self.span, verdict.reason)

    def end(self) -> None:
        """The service has done its part."""
        if self.span is not None:
            self.span.end()


class _Tracer:
    """Makes spans under ids that are given to it."""

    def __init__(self, service: str, exporter: SpanExporter | None) -> None:
        # A second to import, and of no use where tracing is off.
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
            BatchSpanProcessor,
            SimpleSpanProcessor,
        )
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

        class Ids(RandomIdGenerator):
            trace_id = 0
            span_id = 0

            def generate_trace_id(self) -> int:
                return self.trace_id or super().generate_trace_id()

            def generate_span_id(self) -> int:
                return self.span_id or super().generate_span_id()

        self._ids = Ids()
        names = {"service.namespace": "headrace"}
        if "OTEL_SERVICE_NAME" not in os.environ:
            names["service.name"] = service
        self._provider = TracerProvider(
            id_generator=self._ids, resource=Resource.create(names), shutdown_on_exit=False
        )
        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )

            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        else:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("headrace")

    def span(
        self, name: str, kind: str, parent: Parent, span_id: int, about: dict[str, Any]
    ) -> Any:
        """A span that begins now; the sampler decides whether it is kept."""
        from opentelemetry import trace  # noqa: PLC0415

        context = None
        if parent.span_id:
            context = trace.set_span_in_context(
                trace.NonRecordingSpan(
                    trace.SpanContext(
                        parent.trace_id,
                        parent.span_id,
                        is_remote=True,
                        trace_flags=trace.TraceFlags(parent.flags),
                    )
                )
            )
        self._ids.trace_id, self._ids.span_id = parent.trace_id, span_id
        return self._tracer.start_span(name, context, trace.SpanKind[kind], about)

    def close(self) -> None:
        self._provider.shutdown()


_tracer: _Tracer | None = None


def configured() -> bool:
    """Whether the environment names a collector."""
    env = os.environ
    return (
        bool(
            env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        )
        and env.get("OTEL_SDK_DISABLED", "").lower() != "true"
    )


@contextmanager
def tracing(service: str, exporter: SpanExporter | None = None) -> Iterator[None]:
    """Trace while the body runs, if the environment asks for it or `exporter` is given.

    On the way out spans that ended are exported. Within another one it does nothing.
    """
    global _tracer  # noqa: PLW0603  (one for a process, as the environment is)
    if _tracer is not None or not (configured() or exporter):
        yield
        return
    _tracer = tracer = _Tracer(service, exporter)
    try:
        yield
    finally:
        _tracer = None
        tracer.close()


def hop(service: str, record: Any) -> Hop | None:
    """`record` (anything with a Kafka record's fields) in the hands of `service`.

    None where tracing is off and the record came without a context.
    """
    if _tracer is None:
        header, state = _context_headers(record.headers)
        return Hop(header, state) if header is not None and len(header) == _LENGTH else None
    parent = parent_of(record)
    if parent is None:
        parent = Parent(_digest(_place(record), 16), 0, _SAMPLED)
    span_id = _digest(f"{parent.trace_id:x}:{service}:{_place(record)}", 8)
    about = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": group_id(service),
        "messaging.message.id": event_id(record),
    }
    span = _tracer.span(f"process {record.topic}", "CONSUMER", parent, span_id, about)
    return Hop(_header_of(span), parent.state, span if span.is_recording() else None)


def sent(message: Message) -> Message:
    """`message` with the context of a span for its sending, where it begins a trace."""
    if _tracer is None or any(name in {HEADER, _EXTENSION} for name, _ in message.headers):
        return message
    about = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": message.topic,
        "messaging.message.id": _header(message.headers, "ce_id"),
    }
    span = _tracer.span(f"send {message.topic}", "PRODUCER", Parent(0, 0, _SAMPLED), 0, about)
    span.end()
    return Hop(_header_of(span)).on(message)


def parent_of(record: Any) -> Parent | None:
    """The context that came with a record, if it has one that can be read."""
    found, state = _context_headers(record.headers)
    if found is None:
        return None
    match = _PARENT.fullmatch(found)
    if match is None or (match[4] is not None and found.startswith(b"00")):
        return None
    trace_id, span_id = int(match[1], 16), int(match[2], 16)
    if not trace_id or not span_id:
        return None
    return Parent(trace_id, span_id, int(match[3], 16), state)


def trace_id(record: Any) -> str:
    """Id of the record's trace in 32 hex digits; empty where it has none."""
    parent = parent_of(record)
    if parent is not None:
        return f"{parent.trace_id:032x}"
    return "" if _tracer is None else f"{_digest(_place(record), 16):032x}"


def event_id(record: Any) -> str:
    """Id of the event in a record, as far as it can be read."""
    found = _header(record.headers, "ce_id")
    if found:
        return found
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        body = None
    own = body.get("id") if isinstance(body, dict) else None
    if isinstance(own, str):
        return own
    return record_id(record.topic, record.partition, record.offset)


def _context_headers(headers: Any) -> tuple[bytes | None, bytes | None]:
    """`traceparent` and `tracestate` as they came."""
    found: bytes | None = None
    state: bytes | None = None
    for name, content in headers:
        if name == HEADER or (name == _EXTENSION and found is None):
            found = content
        elif name == STATE_HEADER and content is not None and len(content) <= _MAX_STATE_BYTES:
            state = content
    return found, state


def _header_of(span: Any) -> bytes:
    context = span.get_span_context()
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)


def _say_failed(span: Span, reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    span.set_status(Status(StatusCode.ERROR, reason))


def _header(headers: Any, wanted: str) -> str:
    for name, content in headers:
        if name == wanted and content is not None:
            text: str = content.decode("utf-8", "replace")
            return text
    return ""


def _place(record: Any) -> str:
    # With its time: the same position of another cluster is another trace.
    return f"{record.topic}:{record.partition}:{record.offset}:{record.timestamp}"


def _digest(text: str, size: int) -> int:
    """A number of `size` bytes that is not 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
