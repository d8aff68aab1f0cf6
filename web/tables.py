"""The tables of the local index, and how a record becomes rows of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas import envelope
from schemas.envelope import Position
from schemas.errors import Unanswerable
from schemas.events import (
    Alert,
    AuditEntry,
    Cause,
    DeadLetter,
    Event,
    FeedEvent,
    KernelRequest,
    KernelResult,
    LabelledExample,
    Trend,
)
from schemas.ids import ASIDE
from schemas.topics import (
    ALERTS,
    AUDIT,
    CATALOGUE,
    DEAD_LETTERS,
    FEED_EVENTS,
    LABELS,
    REQUESTS,
    RESULTS,
    SHADOW,
    TRENDS,
)
from streams.reading import Record

VERSION: Final = 2
"""Of the tables: an index of another version is built anew."""
TEXT_KEPT: Final = 8_192
"""Characters of a feed text that the index keeps; the topic has the rest."""
BUCKET_MS: Final = 60_000

SCHEMA: Final = """
create table meta (name text primary key, value text);
create table offsets (topic text, part int, next int, primary key (topic, part)) without rowid;
create table feed (
  part int, offset int, ts int, at int, id text, key text, source text, tickers text, text text,
  primary key (part, offset)) without rowid;
create index feed_ts on feed (ts);
create index feed_key on feed (key);
create table requests (
  topic text, part int, offset int, ts int, id text, thread text, target text,
  cause_part int, cause_offset int, primary key (topic, part, offset)) without rowid;
create index requests_thread on requests (thread, ts);
create index requests_ts on requests (ts);
create table results (
  part int, offset int, ts int, at int, task text, thread text, target text, label text,
  confidence real, score real, scores text, version text, precision text, cached int,
  request_id text, excerpt text, cause_part int, cause_offset int, queued_ms real, forward_ms real,
  primary key (part, offset)) without rowid;
create index results_thread on results (thread, at);
create index results_ts on results (ts);
create index results_confidence on results (confidence);
create table minutes (
  thread text, bucket int, n int, positive int, neutral int, negative int, total real,
  primary key (thread, bucket)) without rowid;
create table tickers (
  thread text primary key, n int, last_at int, last_ts int) without rowid;
create index tickers_n on tickers (n);
create index tickers_name on tickers (upper(thread));
create table trends (
  thread text, bucket int, part int, offset int, ts int, at int, late int, windows text,
  primary key (thread, bucket)) without rowid;
create table alerts (
  part int, offset int, ts int, at int, id text, ticker text, body text,
  primary key (part, offset)) without rowid;
create index alerts_ticker on alerts (ticker, ts);
create index alerts_ts on alerts (ts);
create index alerts_id on alerts (id);
create table labels (
  id text primary key, part int, offset int, ts int, task text, target text, text text, label text,
  labeller text) without rowid;
create index labels_target on labels (target);
create index labels_ts on labels (ts);
create table dead (
  part int, offset int, ts int, id text, error_class text, reason text, service text,
  source_topic text, source_part int, source_offset int, key text, bytes int,
  primary key (part, offset)) without rowid;
create index dead_class on dead (error_class, ts);
create index dead_key on dead (key, ts);
create index dead_id on dead (id);
create table audit (
  part int, offset int, ts int, who text, role text, action text, subject text, outcome text,
  detail text, primary key (part, offset)) without rowid;
"""

_WIDTH: Final = {
    "feed": 9,
    "requests": 9,
    "results": 20,
    "alerts": 7,
    "labels": 9,
    "dead": 12,
    "audit": 9,
    "trends": 8,
}
INSERTS: Final = {
    table: f"insert or replace into {table} values ({','.join('?' * width)})"  # noqa: S608
    for table, width in _WIDTH.items()
}
ADD_MINUTES: Final = """insert into minutes values (?,?,?,?,?,?,?)
  on conflict (thread, bucket) do update set n = n + excluded.n,
  positive = positive + excluded.positive, neutral = neutral + excluded.neutral,
  negative = negative + excluded.negative, total = total + excluded.total"""
ADD_TICKERS: Final = """insert into tickers values (?,?,?,?)
  on conflict (thread) do update set n = n + excluded.n,
  last_at = max(last_at, excluded.last_at), last_ts = max(last_ts, excluded.last_ts)"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of a known type, decoded."""

    record: Record
    event: Event


@dataclass
class Batch:
    """What some records add to the index, in the order of the topics."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    minutes: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    tickers: dict[str, list[int]] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    unreadable: int = 0


def digest(records: Iterable[Record]) -> Batch:
    """Decode `records` and make their rows; what cannot be read is counted and passed over."""
    batch = Batch()
    for record in records:
        part = (record.topic, record.partition)
        batch.next_offsets[part] = max(batch.next_offsets.get(part, 0), record.offset + 1)
        make = _ROWS.get(record.topic)
        kind = CATALOGUE[record.topic].carries
        if make is None or kind is None:
            continue
        if record.topic == LABELS.name and record.value is None:
            batch.withdrawn.append(_text(record.key))
            continue
        at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
        try:
            event = envelope.decode(kind, record.value, record.headers, at)
        except Unanswerable:
            batch.unreadable += 1
            continue
        make(batch, record, event)
        batch.seen.append(Seen(record, event))
    return batch


def event_ms(moment: datetime | None, record: Record) -> int:
    """Event time in milliseconds since 1970; without one the record's own time stands in."""
    if moment is None:
        return record.timestamp_ms
    return round(moment.timestamp() * 1000)


def sentiment(result: KernelResult) -> float:
    """P(positive) - P(negative), in [-1, 1]; 0 for tasks without these labels."""
    return result.scores.get("positive", 0.0) - result.scores.get("negative", 0.0)


def is_aside(thread: str) -> bool:
    """Whether a thread is somebody's own question, which counts for no ticker."""
    return thread.startswith(ASIDE)


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace")


def _place(record: Record) -> tuple[int, int, int]:
    return record.partition, record.offset, record.timestamp_ms


def _cause(cause: Cause | None) -> tuple[int | None, int | None]:
    if cause is None or cause.topic != FEED_EVENTS.name:
        return None, None
    return cause.partition, cause.offset


def _json(value: Any) -> str:
    return envelope.to_json(value).decode()


def _feed(batch: Batch, record: Record, event: FeedEvent) -> None:
    batch.rows["feed"].append(
        (
            *_place(record),
            event_ms(event.published_at, record),
            event.id,
            _text(record.key),
            event.source,
            " ".join(event.tickers),
            event.text[:TEXT_KEPT],
        )
    )


def _request(batch: Batch, record: Record, event: KernelRequest) -> None:
    batch.rows["requests"].append(
        (
            record.topic,
            *_place(record),
            event.id,
            event.thread,
            event.target,
            *_cause(event.cause),
        )
    )


def _result(batch: Batch, record: Record, event: KernelResult) -> None:
    at = event_ms(event.published_at, record)
    score = sentiment(event)
    timings = event.timings
    batch.rows["results"].append(
        (
            *_place(record),
            at,
            event.task,
            event.thread,
            event.target,
            event.label,
            event.confidence,
            score,
            _json(event.scores),
            event.model_version,
            event.precision,
            int(event.cached),
            event.request_id,
            event.excerpt,
            *_cause(event.cause),
            None if timings is None else timings.queued_ms,
            None if timings is None else timings.forward_ms,
        )
    )
    if is_aside(event.thread):
        return
    bucket = at - at % BUCKET_MS
    minute = batch.minutes.setdefault((event.thread, bucket), [0, 0, 0, 0, 0.0])
    minute[0] += 1
    for place, label in enumerate(("positive", "neutral", "negative"), start=1):
        minute[place] += event.label == label
    minute[4] += score
    ticker = batch.tickers.setdefault(event.thread, [0, at, record.timestamp_ms])
    ticker[0] += 1
    ticker[1] = max(ticker[1], at)
    ticker[2] = max(ticker[2], record.timestamp_ms)


def _trend(batch: Batch, record: Record, event: Trend) -> None:
    at = event_ms(event.as_of, record)
    batch.rows["trends"].append(
        (
            event.ticker,
            at - at % BUCKET_MS,
            *_place(record),
            at,
            int(event.late),
            _json(event.windows),
        )
    )


def _alert(batch: Batch, record: Record, event: Alert) -> None:
    at = event_ms(event.raised_at, record)
    batch.rows["alerts"].append((*_place(record), at, event.id, event.ticker, _json(event)))


def _label(batch: Batch, record: Record, event: LabelledExample) -> None:
    batch.rows["labels"].append(
        (
            event.id,
            *_place(record),
            event.task,
            event.target,
            event.text[:TEXT_KEPT],
            event.label,
            event.labeller,
        )
    )


def _dead(batch: Batch, record: Record, event: DeadLetter) -> None:
    source = event.source
    batch.rows["dead"].append(
        (
            *_place(record),
            event.id,
            event.error_class,
            event.reason,
            event.service,
            source.topic,
            source.partition,
            source.offset,
            _text(source.key),
            len(source.value or b""),
        )
    )


def _audit(batch: Batch, record: Record, event: AuditEntry) -> None:
    batch.rows["audit"].append(
        (
            *_place(record),
            event.who,
            event.role,
            event.action,
            event.subject,
            event.outcome,
            msgspec.json.encode(event.detail).decode(),
        )
    )


_ROWS: Final[dict[str, Callable[[Batch, Record, Any], None]]] = {
    FEED_EVENTS.name: _feed,
    **{topic.name: _request for topic in REQUESTS.values()},
    RESULTS.name: _result,
    TRENDS.name: _trend,
    ALERTS.name: _alert,
    LABELS.name: _label,
    DEAD_LETTERS.name: _dead,
    AUDIT.name: _audit,
    SHADOW.name: lambda *_: None,
}
"""What each topic adds; of shadow scores there are no rows, only trials look at them."""
