"""Others' CloudEvents are understood and ours are understood by others: the official SDK."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import TYPES, Position, decode, encode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Event, FeedEvent
from tests.support.strategies import events_of

AT = Position("feed.events", 0, 7, 1_700_000_000_000)
DATA: dict[str, Any] = {
    "text": "Tarlemont raises its forecast: ¥ shares up",
    "tickers": ["TRLM"],
    "published_at": "2026-03-02T07:00:00Z",
}
EXPECTED = FeedEvent(
    id="news-17",
    text=DATA["text"],
    tickers=["TRLM"],
    published_at=datetime(2026, 3, 2, 7, tzinfo=UTC),
)
modes = pytest.mark.parametrize("write", [kafka.to_binary_event, kafka.to_structured_event])


def event(data: Any = DATA, **attributes: Any) -> Any:
    given: dict[str, Any] = {
        "type": "com.example.news",
        "source": "/newsroom",
        "id": "news-17",
        "time": datetime(2026, 3, 2, 7, tzinfo=UTC),
        "datacontenttype": "application/json",
        **attributes,
    }
    return CloudEvent({name: value for name, value in given.items() if value is not None}, data)


def read(message: Any) -> FeedEvent:
    return decode(FeedEvent, message.value, list(message.headers.items()), AT)


@modes
def test_an_event_of_the_sdk_is_understood(write: Any) -> None:
    assert read(write(event())) == EXPECTED


@modes
def test_extensions_a_subject_and_no_content_type_are_no_hindrance(write: Any) -> None:
    made = event(partitionkey="TRLM", subject="s", traceparent="00-1", datacontenttype=None)
    message = write(made)
    assert message.key == "TRLM"
    assert read(message) == EXPECTED


@modes
def test_our_own_type_written_by_the_sdk_is_understood(write: Any) -> None:
    assert read(write(event(type=TYPES[FeedEvent]))) == EXPECTED


@modes
def test_a_version_that_we_do_not_know_is_refused(write: Any) -> None:
    with pytest.raises(Unanswerable) as caught:
        read(write(event(type="headrace.feed.event.v2")))
    assert caught.value.error_class == ErrorClass.UNKNOWN_SCHEMA


def test_bytes_of_the_sdk_travel_as_base64_and_are_understood() -> None:
    body = b'{"text": "a", "id": "b1"}'
    message = kafka.to_structured_event(event(body, datacontenttype="application/octet-stream"))
    assert base64.b64encode(body) in message.value
    assert read(message) == FeedEvent(id="b1", text="a")


@given(st.data())
def test_the_sdk_understands_what_we_write(data: st.DataObject) -> None:
    kind: type[Event] = data.draw(st.sampled_from(list(TYPES)))
    said = data.draw(events_of(kind))
    value, headers = encode(said, "finance.reader")
    found = kafka.from_kafka_event(kafka.KafkaMessage(dict(headers), None, value))
    assert found.get_id() == said.id
    assert found.get_type() == TYPES[kind]
    assert found.get_source() == "/headrace/finance.reader"
    assert found.get_specversion() == "1.0"
    again = found.get_data()
    assert set(again) == set(kind.__struct_fields__)
    # And back: the SDK writes what it read in both modes, and we read our own event.
    for write in (kafka.to_binary_event, kafka.to_structured_event):
        message = write(found)
        assert decode(kind, message.value, list(message.headers.items()), AT) == said
