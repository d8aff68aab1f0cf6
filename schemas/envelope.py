"""CloudEvents 1.0 over Kafka: how an event becomes a record and a record an event.

Headrace writes binary mode: attributes in `ce_*` headers, the body as JSON. It
reads binary mode, structured mode (`application/cloudevents+json`), and, where
the topic's type is the default, a plain JSON body without headers.

Source: CloudEvents v1.0.2, Kafka Protocol Binding v1.0.2, JSON Event Format.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import orjson

from schemas import ids
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import (
    Alert,
    AlertState,
    AuditEntry,
    DeadLetter,
    Delivery,
    Event,
    FeedEvent,
    KernelRequest,
    KernelResult,
    LabelledExample,
    ModelSwap,
    ModelVersion,
    Replayed,
    ShadowScore,
    TaskDefinition,
    Trend,
)

E = TypeVar("E", bound=Event)
Headers = Sequence[tuple[str, bytes | None]]

TYPES: Final[dict[type[Event], str]] = {
    FeedEvent: "headrace.feed.event.v1",
    KernelRequest: "headrace.kernel.request.v1",
    KernelResult: "headrace.kernel.result.v1",
    ModelVersion: "headrace.kernel.model.v1",
    ShadowScore: "headrace.kernel.shadow.v1",
    ModelSwap: "headrace.kernel.swap.v1",
    TaskDefinition: "headrace.kernel.task.v1",
    LabelledExample: "headrace.labels.example.v1",
    Trend: "headrace.finance.trend.v1",
    Alert: "headrace.finance.alert.v1",
    DeadLetter: "headrace.dead-letter.v1",
    Replayed: "headrace.dead-letter.replayed.v1",
    AlertState: "headrace.console.alert-state.v1",
    Delivery: "headrace.console.delivery.v1",
    AuditEntry: "headrace.console.audit.v1",
}
_SPEC: Final = b"1.0"
_JSON: Final = b"application/json"
_STRUCTURED: Final = b"application/cloudevents+json"
_STRUCTURED_ANY: Final = b"application/cloudevents"
_LAST_MOMENT_MS: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
_JSON_WORDS: Final = {dict: "object", list: "array", str: "string", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record stands, and the time its topic gives it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int

    @property
    def time(self) -> datetime:
        """The record's own time, in UTC; a publisher may give it any 64-bit number."""
        return datetime.fromtimestamp(min(max(self.timestamp_ms, 0), _LAST_MOMENT_MS) / 1000, UTC)


def to_json(value: Any) -> bytes:
    """JSON bytes of an event or of anything made of builtins."""
    return orjson.dumps(msgspec.to_builtins(value, builtin_types=(datetime,)))


def encode(event: Event, source: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Body and headers of `event` in binary mode; `source` is the service that says it."""
    headers = [
        ("ce_specversion", _SPEC),
        ("ce_id", event.id.encode()),
        ("ce_source", f"/headrace/{source}".encode()),
        ("ce_type", TYPES[type(event)].encode()),
        ("content-type", _JSON),
    ]
    return to_json(event), headers


def decode(kind: type[E], value: bytes | None, headers: Headers, at: Position) -> E:
    """The event of type `kind` that the record holds.

    A body without an `id` takes the CloudEvents id, else the record's position.

    Raises:
        Unanswerable: with NO_VALUE, NOT_JSON, WRONG_TYPE or UNKNOWN_SCHEMA.
    """
    if value is None:
        raise Unanswerable(ErrorClass.NO_VALUE, "the record is a tombstone: it has no value")
    found = {name.lower(): content for name, content in headers if content is not None}
    media_type = found.get("content-type", _JSON).partition(b";")[0].strip().lower()
    if media_type == _STRUCTURED:
        body, version, type_name, event_id = _structured(value)
    elif media_type.startswith(_STRUCTURED_ANY):
        raise Unanswerable(
            ErrorClass.UNKNOWN_SCHEMA,
            f"content type {_text(media_type)!r}: of CloudEvents formats only JSON is read",
        )
    else:
        body = _parse(value)
        version = _text(found.get("ce_specversion"))
        type_name = _text(found.get("ce_type"))
        event_id = _text(found.get("ce_id"))
    if version not in {"", "1.0"}:
        raise Unanswerable(
            ErrorClass.UNKNOWN_SCHEMA, f"CloudEvents {version!r}: version 1.0 is read"
        )
    _check_type(kind, type_name)
    if not isinstance(body, dict):
        raise Unanswerable(
            ErrorClass.WRONG_TYPE, f"the body is a JSON {_json_word(body)}, not an object"
        )
    if "id" not in body:
        body["id"] = event_id or ids.record_id(at.topic, at.partition, at.offset)
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise Unanswerable(ErrorClass.WRONG_TYPE, str(error)) from error


def _parse(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Unanswerable(ErrorClass.NOT_JSON, f"the body is not JSON: {error}") from error


def _structured(value: bytes) -> tuple[Any, str, str, str]:
    """Data, specversion, type and id of a structured event; what is absent is empty."""
    envelope = _parse(value)
    if not isinstance(envelope, dict):
        raise Unanswerable(ErrorClass.WRONG_TYPE, "a structured CloudEvent is a JSON object")
    body = envelope.get("data")
    encoded = envelope.get("data_base64")
    if body is None and isinstance(encoded, str):
        try:
            body = _parse(base64.b64decode(encoded, validate=True))
        except ValueError as error:
            raise Unanswerable(ErrorClass.NOT_JSON, f"data_base64: {error}") from error
    version, type_name, event_id = (
        _attribute(envelope, name) for name in ("specversion", "type", "id")
    )
    return body, version, type_name, event_id


def _attribute(envelope: dict[str, Any], name: str) -> str:
    found = envelope.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise Unanswerable(
            ErrorClass.WRONG_TYPE,
            f"the CloudEvents attribute {name!r} is a JSON {_json_word(found)}, not a string",
        )
    return found


def _json_word(value: Any) -> str:
    return "null" if value is None else _JSON_WORDS.get(type(value), "number")


def _check_type(kind: type[Event], type_name: str) -> None:
    """Refuse versions of our own types that this reader does not know.

    Types of other publishers are accepted: the topic says what its body is.
    """
    known = TYPES[kind]
    if type_name.startswith("headrace.") and type_name != known:
        raise Unanswerable(
            ErrorClass.UNKNOWN_SCHEMA, f"type {type_name!r}; this topic carries {known!r}"
        )


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")
