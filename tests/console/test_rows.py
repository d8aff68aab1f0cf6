"""Whatever a file holds, its rows are told one by one: good, or bad with number and reason."""

from __future__ import annotations

import contextlib
import csv
import io
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.events import Columns, Mapper, moment
from console.rows import BadRow, InputError, Row, rows
from schemas.events import FeedEvent, LabelledExample
from schemas.topics import FEED_EVENTS, LABELS

FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(st.tuples(FIELD, FIELD), max_size=8))
def test_every_row_that_a_csv_writer_wrote_is_read_as_it_was(pairs: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *pairs])
    found = list(rows(io.BytesIO(text.getvalue().encode()), "csv"))
    assert [one.fields for one in found if isinstance(one, Row)] == [
        {"a": first, "b": second} for first, second in pairs
    ]
    assert [one.number for one in found] == list(range(1, len(pairs) + 1))


@given(st.binary(max_size=200))
def test_any_bytes_become_rows_bad_rows_or_one_clear_error(content: bytes) -> None:
    mapper = Mapper(FEED_EVENTS, Columns(text="a"))
    for kind in ("csv", "jsonl"):
        with contextlib.suppress(InputError):
            for row in rows(io.BytesIO(b"a,b\n" + content), kind):
                if isinstance(row, Row):
                    assert isinstance(mapper.event(row), FeedEvent | BadRow)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["text", "id", "tickers", "source", "published_at", "label", "target"]),
        JSON,
    )
)
def test_any_json_object_becomes_an_event_or_a_bad_row(fields: dict[str, Any]) -> None:
    row = Row(1, 1, {"text": "a text", "label": "neutral", **fields})
    assert isinstance(Mapper(FEED_EVENTS, Columns()).event(row), FeedEvent | BadRow)
    assert isinstance(Mapper(LABELS, Columns()).event(row), LabelledExample | BadRow)


def test_a_file_without_a_header_is_refused() -> None:
    with pytest.raises(InputError, match="first line must name the columns"):
        list(rows(io.BytesIO(b""), "csv"))


def test_a_text_of_a_megabyte_is_one_field() -> None:
    (row,) = rows(io.BytesIO(b"text\n" + b"x" * 1_048_576 + b"\n"), "csv")
    assert isinstance(row, Row)
    assert len(row.fields["text"]) == 1_048_576


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    (row,) = rows(io.BytesIO(b"\xef\xbb\xbftext\nhello\n"), "csv")
    assert isinstance(row, Row)
    assert row.fields == {"text": "hello"}
    line = b"\xef\xbb\xbf" + orjson.dumps({"text": "hello"})
    assert list(rows(io.BytesIO(line), "jsonl")) == [Row(1, 1, {"text": "hello"})]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2026-03-02T07:00:00Z", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("2026-03-02T09:00:00+02:00", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("2026-03-02 07:00", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("1772434800", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        (1772434800000, datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_in_the_ways_that_feeds_write_them(
    given_: object, expected: datetime | None
) -> None:
    assert moment(given_) == expected


@pytest.mark.parametrize("given_", ["soon", "nan", "inf", 1e300, [], "2026-13-01"])
def test_what_is_no_time_is_said_so(given_: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        moment(given_)


def test_an_event_without_an_id_takes_one_of_the_run_and_its_row() -> None:
    row = Row(7, 8, {"text": "hello"})
    first, second = Mapper(FEED_EVENTS, Columns()), Mapper(FEED_EVENTS, Columns())
    one, again, other = first.event(row), first.event(row), second.event(row)
    assert isinstance(one, FeedEvent)
    assert isinstance(other, FeedEvent)
    assert one == again
    assert one.id.endswith("-7")
    assert one.id != other.id


def test_a_prefix_gives_the_same_rows_new_ids() -> None:
    event = Mapper(FEED_EVENTS, Columns(id_prefix="again-")).event(
        Row(1, 2, {"text": "x", "id": 5})
    )
    assert isinstance(event, FeedEvent)
    assert event.id == "again-5"
