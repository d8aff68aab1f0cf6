"""From the rows of a file to the events of a topic, by the columns that the user names."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from console.rows import BadRow, Row
from schemas.events import Event, FeedEvent, LabelledExample
from schemas.ids import label_id
from schemas.topics import FEED_EVENTS, LABELS, Topic
from streams.message import Message

_MILLISECONDS_FROM: Final = 1e11
"""A number of seconds above this lies in the year 5138: it is milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns; the defaults are the names of the events' own fields."""

    text: str = "text"
    id: str = "id"
    tickers: str = "tickers"
    separator: str = " "
    time: str = "published_at"
    source: str = "source"
    key: str | None = None
    feed: str = ""
    """Key of feed events where no column is the key: one feed is one thread, in order."""
    target: str = "target"
    label: str = "label"
    labeller: str = "labeller"
    task: str = "sentiment"
    """The task itself, where rows have no column `task`."""
    id_prefix: str = ""


class Mapper:
    """Makes events of `topic` from rows.

    An event without an id takes one of this run and its row number; a labelled example
    one from its content, so that a file published twice, or with a label corrected,
    does not count twice.
    """

    def __init__(self, topic: Topic, columns: Columns) -> None:
        self._topic = topic
        self._columns = columns
        self._run = uuid.uuid4().hex[:12]
        body: dict[str, Callable[[Row], dict[str, Any]]] = {
            FEED_EVENTS.name: self._feed,
            LABELS.name: self._label,
        }
        self._body = body.get(topic.name, _as_it_is)

    def event(self, row: Row) -> Event | BadRow:
        """The row as an event, or why it is none."""
        kind = self._topic.carries
        if kind is None:
            return BadRow(row.number, row.line, f"{self._topic.name} takes no rows")
        try:
            body = self._body(row)
            body.setdefault("id", f"{self._run}-{row.number}")
            body["id"] = f"{self._columns.id_prefix}{body['id']}"
            return msgspec.convert(body, kind, strict=False)
        except (ValueError, msgspec.ValidationError) as error:
            return BadRow(row.number, row.line, str(error))

    def message(self, row: Row, event: Event) -> Message:
        """The event on its way to the topic, under the row's key."""
        if self._columns.key is not None:
            key = str(row.fields.get(self._columns.key) or event.id)
        elif isinstance(event, FeedEvent) and self._columns.feed:
            key = self._columns.feed
        else:
            key = str(getattr(event, "thread", event.id))
        return Message.of(self._topic, key.encode(), event, "console")

    def _feed(self, row: Row) -> dict[str, Any]:
        columns = self._columns
        body: dict[str, Any] = {
            "text": _needed(row, columns.text),
            "tickers": _tickers(row.fields.get(columns.tickers), columns.separator),
            "source": str(row.fields.get(columns.source) or ""),
            "published_at": moment(row.fields.get(columns.time)),
        }
        return _with_id(body, row.fields.get(columns.id))

    def _label(self, row: Row) -> dict[str, Any]:
        columns = self._columns
        target = row.fields.get(columns.target)
        body: dict[str, Any] = {
            "task": str(row.fields.get("task") or columns.task),
            "text": _needed(row, columns.text),
            "label": _needed(row, columns.label),
            "target": None if target is None or target == "" else str(target),
            "labeller": str(row.fields.get(columns.labeller) or ""),
            "published_at": moment(row.fields.get(columns.time)),
        }
        own = label_id(body["task"], body["target"], body["text"])
        return _with_id(body, row.fields.get(columns.id) or own)


def moment(value: Any) -> datetime | None:
    """A time from RFC 3339 text (without an offset: UTC) or from epoch seconds.

    Raises:
        ValueError: it is neither.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        try:
            found = datetime.fromisoformat(str(value).strip())
        except ValueError as error:
            raise ValueError(f"{value!r} is not a time") from error
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        return datetime.fromtimestamp(number / (1000 if number > _MILLISECONDS_FROM else 1), UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{value!r} is not a time") from error


def published_at(event: Event) -> datetime | None:
    """Event time of a feed event or an example."""
    return event.published_at if isinstance(event, FeedEvent | LabelledExample) else None


def _as_it_is(row: Row) -> dict[str, Any]:
    return dict(row.fields)


def _needed(row: Row, column: str) -> str:
    value = row.fields.get(column)
    if value is None:
        known = ", ".join(row.fields)
        raise ValueError(f"no column {column!r}; there are: {known}")
    if not isinstance(value, str):
        raise ValueError(f"{column} is {type(value).__name__}, not text")  # noqa: TRY004
    if not value.strip():
        raise ValueError(f"{column} is empty")
    return value


def _tickers(value: Any, separator: str) -> list[str]:
    if value is None:
        return []
    parts = value if isinstance(value, list) else str(value).split(separator)
    return [str(part).strip() for part in parts if str(part).strip()]


def _with_id(body: dict[str, Any], value: Any) -> dict[str, Any]:
    if value is not None and value != "":
        body["id"] = str(value)
    return body
