"""Whatever lies on a topic is an event or one verdict; what we write we understand."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import TYPES, Position, decode, encode
from schemas.errors import ErrorClass, Unanswerable
from schemas.events import Event, FeedEvent, KernelRequest
from schemas.ids import result_id
from schemas.limits import MAX_ID_CHARACTERS, MAX_NAME_CHARACTERS, MAX_REASON_CHARACTERS
from tests.support.strategies import events_of

AT = Position("feed.events", 3, 41, 1_700_000_000_000)
FORM = {ErrorClass.NOT_JSON, ErrorClass.WRONG_TYPE, ErrorClass.UNKNOWN_SCHEMA}
STRUCTURED = ("content-type", b"application/cloudevents+json")
REQUEST: dict[str, Any] = {"task": "sentiment", "text": "up", "thread": "TRLM"}

kinds = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)


def refused(kind: type[Event], value: bytes | None, *headers: tuple[str, bytes | None]) -> str:
    """Class of the verdict on a record that must be refused."""
    with pytest.raises(Unanswerable) as caught:
        decode(kind, value, headers, AT)
    assert caught.value.reason
    return caught.value.error_class


@kinds
def test_what_is_written_is_read_back_the_same(kind: type[Event]) -> None:
    @given(events_of(kind))
    def every(event: Event) -> None:
        value, headers = encode(event, "test")
        assert decode(kind, value, headers, AT) == event
        assert decode(kind, value, [], AT) == event

    every()


def event_or_verdict(
    kind: type[Event], value: bytes, headers: list[tuple[str, bytes | None]]
) -> Event | Unanswerable:
    try:
        return decode(kind, value, headers, AT)
    except Unanswerable as verdict:
        return verdict


def _dumps(made: Any) -> bytes:
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass")


# JSON of any shape, and objects that have the fields of events with values of any type.
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["2026-03-02T07:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:60Z"]),
)
_json = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
_fields = st.sampled_from(sorted({field for kind in TYPES for field in kind.__struct_fields__}))
_objects = st.dictionaries(_fields, _json, max_size=8)
_envelopes = st.dictionaries(
    st.sampled_from(["specversion", "id", "type", "source", "data", "data_base64"]),
    st.one_of(_json, _objects, st.just("1.0")),
)
_bodies = st.one_of(
    st.binary(max_size=80),
    st.one_of(_json, _objects, _envelopes).map(_dumps),
)
_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_type", "ce_id", "ce_specversion", "content-type", "Content-Type"]),
        st.one_of(
            st.none(),
            st.binary(max_size=30),
            st.sampled_from([b"1.0", b"application/cloudevents+json; charset=utf-8"]),
        ),
    ),
    max_size=4,
)


@given(st.sampled_from(list(TYPES)), _bodies, _headers)
def test_anything_is_an_event_or_one_verdict(
    kind: type[Event], value: bytes, headers: list[tuple[str, bytes | None]]
) -> None:
    outcome = event_or_verdict(kind, value, headers)
    if isinstance(outcome, Unanswerable):
        assert outcome.error_class in FORM
        assert 0 < len(outcome.reason) <= MAX_REASON_CHARACTERS
    else:
        again, _ = encode(outcome, "test")  # what was accepted can always be said again
        assert decode(kind, again, [], AT) == outcome


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ErrorClass.NO_VALUE),
        (b"", ErrorClass.NOT_JSON),
        (b"up", ErrorClass.NOT_JSON),
        (b"\xff\xfe", ErrorClass.NOT_JSON),
        (b'{"text": "a', ErrorClass.NOT_JSON),
        (b'{"text": "\xed\xa0\x80"}', ErrorClass.NOT_JSON),
        (b'{"text": "\\ud800"}', ErrorClass.NOT_JSON),
        (b'{"text": NaN}', ErrorClass.NOT_JSON),
        (b'{"text": "a", "x": 1e999}', ErrorClass.NOT_JSON),
        (b"[" * 100_000, ErrorClass.NOT_JSON),
        (b'{"text": "a", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", ErrorClass.NOT_JSON),
        (b"null", ErrorClass.WRONG_TYPE),
        (b"17", ErrorClass.WRONG_TYPE),
        (b'"up"', ErrorClass.WRONG_TYPE),
        (b'[{"text": "a"}]', ErrorClass.WRONG_TYPE),
        (b"{}", ErrorClass.WRONG_TYPE),
        (b'{"text": 5}', ErrorClass.WRONG_TYPE),
        (b'{"text": null}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "id": ""}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "id": 7}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "tickers": "TRLM"}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "published_at": "yesterday"}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "published_at": "2026-03-02T07:00:00"}', ErrorClass.WRONG_TYPE),
        (b'{"text": "a", "published_at": 1772434800}', ErrorClass.WRONG_TYPE),
    ],
)
def test_a_bad_body_is_refused_with_its_class(value: bytes | None, expected: ErrorClass) -> None:
    assert refused(FeedEvent, value) == expected


@pytest.mark.parametrize("offset", ["-1", "9223372036854775808", "1" + "0" * 40, "1.5", '"4"'])
def test_a_cause_outside_of_kafkas_numbers_is_refused(offset: str) -> None:
    cause = f'["agent", "topic", 0, {offset}, 0]'
    body = f'{{"task": "s", "text": "a", "thread": "t", "cause": {cause}}}'
    assert refused(KernelRequest, body.encode()) == ErrorClass.WRONG_TYPE


def test_a_text_of_a_megabyte_is_read_whole() -> None:
    text = "ü" * 500_000
    event = decode(FeedEvent, orjson.dumps({"text": text}), [], AT)
    assert event.text == text


@pytest.mark.parametrize("field", ["id", "task", "thread", "target"])
def test_a_name_that_would_not_fit_into_the_answer_is_refused(field: str) -> None:
    fits = REQUEST | {field: "x" * MAX_NAME_CHARACTERS}
    assert decode(KernelRequest, orjson.dumps(fits), [], AT)
    long = orjson.dumps(REQUEST | {field: "x" * (MAX_NAME_CHARACTERS + 1)})
    assert refused(KernelRequest, long) == ErrorClass.WRONG_TYPE


def test_the_result_of_the_longest_request_id_is_a_legal_id() -> None:
    assert len(result_id("x" * MAX_NAME_CHARACTERS)) <= MAX_ID_CHARACTERS


def test_a_verdict_that_quotes_the_record_stays_short() -> None:
    type_name = b"headrace." + b"x" * 1_000_000
    with pytest.raises(Unanswerable) as caught:
        decode(FeedEvent, b'{"text": "a"}', [("ce_type", type_name)], AT)
    assert len(caught.value.reason) == MAX_REASON_CHARACTERS
    assert caught.value.reason.endswith("…")


def test_a_plain_body_takes_the_id_of_its_position() -> None:
    event = decode(FeedEvent, b'{"text": "a", "unknown": {"field": 1}}', [], AT)
    assert event == FeedEvent(id="feed.events:3:41", text="a")


def test_the_body_s_id_comes_before_the_header_s_and_that_before_the_position() -> None:
    headers = [("ce_id", b"header")]
    assert decode(FeedEvent, b'{"text": "a", "id": "body"}', headers, AT).id == "body"
    assert decode(FeedEvent, b'{"text": "a"}', headers, AT).id == "header"


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
@pytest.mark.parametrize(
    "media_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"Application/CloudEvents+JSON ;charset=UTF-8",
    ],
)
def test_structured_mode_is_known_however_its_header_is_written(
    name: str, media_type: bytes
) -> None:
    value = orjson.dumps({"specversion": "1.0", "id": "e1", "data": {"text": "a"}})
    assert decode(FeedEvent, value, [(name, media_type)], AT) == FeedEvent(id="e1", text="a")


def test_attribute_headers_are_known_in_any_case() -> None:
    assert decode(FeedEvent, b'{"text": "a"}', [("CE_Id", b"e1")], AT).id == "e1"
    other = ("CE_TYPE", b"headrace.feed.event.v2")
    assert refused(FeedEvent, b'{"text": "a"}', other) == ErrorClass.UNKNOWN_SCHEMA


def test_data_in_base64_is_read() -> None:
    data = base64.b64encode(b'{"text": "a"}').decode()
    value = orjson.dumps({"specversion": "1.0", "id": "e1", "data_base64": data})
    assert decode(FeedEvent, value, [STRUCTURED], AT) == FeedEvent(id="e1", text="a")


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ({"data_base64": "%%%"}, ErrorClass.NOT_JSON),
        ({"data_base64": "ü"}, ErrorClass.NOT_JSON),
        ({"data_base64": "dXA="}, ErrorClass.NOT_JSON),  # `up`
        ({"data_base64": 5}, ErrorClass.WRONG_TYPE),
        ({"data": None}, ErrorClass.WRONG_TYPE),
        ({"data": [1]}, ErrorClass.WRONG_TYPE),
        ({}, ErrorClass.WRONG_TYPE),
        ({"id": 5, "data": {"text": "a"}}, ErrorClass.WRONG_TYPE),
        ({"type": ["x"], "data": {"text": "a"}}, ErrorClass.WRONG_TYPE),
        ({"type": "headrace.feed.event.v9", "data": {"text": "a"}}, ErrorClass.UNKNOWN_SCHEMA),
        ({"specversion": "0.1", "data": {"text": "a"}}, ErrorClass.UNKNOWN_SCHEMA),
    ],
)
def test_a_bad_structured_event_is_refused_with_its_class(
    envelope: dict[str, Any], expected: ErrorClass
) -> None:
    value = orjson.dumps({"specversion": "1.0", "id": "e1"} | envelope)
    assert refused(FeedEvent, value, STRUCTURED) == expected


def test_an_attribute_that_is_null_is_absent() -> None:
    value = orjson.dumps({"specversion": "1.0", "id": None, "type": None, "data": {"text": "a"}})
    assert decode(FeedEvent, value, [STRUCTURED], AT).id == "feed.events:3:41"


@pytest.mark.parametrize(
    "header",
    [
        ("ce_type", b"headrace.feed.event.v2"),
        ("ce_type", b"headrace.kernel.result.v1"),
        ("ce_type", b"headrace.\xff"),
        ("ce_specversion", b"0.3"),
        ("ce_specversion", b"2.0"),
        ("content-type", b"application/cloudevents+avro"),
        ("content-type", b"application/cloudevents-batch+json"),
    ],
)
def test_a_version_or_format_that_is_not_known_is_refused(header: tuple[str, bytes]) -> None:
    assert refused(FeedEvent, b'{"text": "a"}', header) == ErrorClass.UNKNOWN_SCHEMA


def test_types_of_other_publishers_are_accepted() -> None:
    headers = [("ce_type", b"com.example.news"), ("ce_id", b"n1"), ("ce_specversion", b"1.0")]
    assert decode(FeedEvent, b'{"text": "a"}', headers, AT) == FeedEvent(id="n1", text="a")


@pytest.mark.parametrize("timestamp_ms", [-(2**63), -1, 0, 1_700_000_000_000, 2**63 - 1])
def test_a_record_of_any_timestamp_has_a_time(timestamp_ms: int) -> None:
    assert 1970 <= Position("t", 0, 0, timestamp_ms).time.year <= 9999
