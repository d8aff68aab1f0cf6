"""Every type of event that Headrace carries, once.

Each class is the JSON body of one record; the CloudEvents attributes travel in
the record's headers (see `schemas.envelope`). Unknown fields are ignored, so a
newer writer can add fields; a change that breaks a reader takes a new version
number in `schemas.envelope.TYPES`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from schemas.limits import MAX_ID_CHARACTERS, MAX_NAME_CHARACTERS
from schemas.tasks import Task

Timestamp = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, with an offset")]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARACTERS)]
"""What travels on with each answer, so it must not outgrow the answer's record."""
Required = Annotated[Name, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A place in Kafka: what does not fit its 64 bits is no such place."""

ModelState = Literal["candidate", "shadow", "canary", "live", "standby", "retired", "refused"]
"""What a version may do. `candidate`: nothing yet. `shadow`: it is asked what the live one is
asked, and heard by nobody. `canary`: it answers a share of the keys. `live`: it answers.
`standby`: it answers requests that name a target which it meets best. `retired`: it was live.
`refused`: it has failed, and may never answer."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event has: an id, unique within its topic."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class Cause(msgspec.Struct, frozen=True, array_like=True):
    """The source position that made an agent say something.

    Within one partition of an agent's output, `(offset, index)` rises for each
    `(agent, topic, partition)`, but for replays: a lane drops what lies at or
    below the highest it has committed (docs/delivery.md).
    """

    agent: Name
    topic: Name
    partition: Count
    offset: Count
    index: Count
    """Position among the messages that this one source event caused."""


class FeedEvent(Event, frozen=True, kw_only=True):
    """One text of a live feed: a headline, a post, a chat message."""

    text: str
    tickers: list[Name] = []
    source: str = ""
    published_at: Timestamp | None = None
    """Event time. Where it is absent, the record's Kafka timestamp stands in."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the version that shall answer it, as the kernel has measured it."""

    max_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The most accurate version of those whose forward pass over one text takes so long at most."""
    min_accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Of the versions that are so accurate at least; without `max_ms` the cheapest of them."""


class KernelRequest(Event, frozen=True, kw_only=True):
    """A question to the kernel: score `text` (about `target`) for `task`."""

    id: Required
    """Shorter than other ids, since the result's id is made from it."""
    task: Required
    text: str
    thread: Name
    """The key that the answer carries: a ticker, a conversation, a customer."""
    target: Name | None = None
    published_at: Timestamp | None = None
    """Event time of what caused the request, handed through to the result."""
    deadline: Timestamp | None = None
    """From then on the answer is of no use: a result says that the request expired."""
    tenant: Name = ""
    """On whose behalf: capacity is shared by the tenants' weights (`tenant_weights`)."""
    prefer: Target | None = None
    """Without it the live version answers, or a canary its share of the threads."""
    may_degrade: bool = False
    """Whether the cheapest version may answer while the kernel is overloaded."""
    cause: Cause | None = None
    """Set by agents; a client that publishes requests itself leaves it out."""


class KernelTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds that a request spent in each stage of the kernel."""

    queued_ms: float
    forward_ms: float


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a token classifier has found in a text."""

    label: str
    """Its type: `PER`, not `B-PER`."""
    start: int
    """Place of its first character, in Unicode code points of the request's text."""
    end: int
    """Place behind its last character."""
    text: str
    """The characters themselves, the first ones of a very long name."""
    score: float
    """Mean probability of its words' tags."""


class KernelResult(Event, frozen=True, kw_only=True):
    """The kernel's answer to exactly one request."""

    request_id: str
    task: str
    thread: str
    status: Literal["scored", "expired"] = "scored"
    """`expired`: the deadline came before a model did; `label`, `scores`, `model_version`
    and `precision` are empty."""
    label: str
    """Empty where the model is not a classifier."""
    scores: dict[str, float]
    """Probability of each label, in the model's label order; they sum to 1. Empty where the
    model is not a classifier."""
    entities: list[Entity] = []
    """What a token classifier has found, in the order of the text, without overlap."""
    vector: list[float] = []
    """An embedder's vector, of length 1: a dot product is the cosine. Plain numbers, of six
    decimals, so that any reader of JSON can use them."""
    score: float | None = None
    """A reranker's log-odds that `text` answers the query `target`; higher is better."""
    model_version: str
    precision: str
    cached: bool = False
    """Answered from an earlier or concurrent pass over the same input."""
    chosen_by: Literal["route", "target", "overload", "failure"] = "route"
    """Why this version answered. `route`: it is live, or the canary of the thread. `target`: the
    request named one. `overload`: the request was degraded to the cheapest version. `failure`:
    the canary failed on the text, and the live version answered in its place."""
    excerpt: str
    """The first characters of the text, so that a reader needs no join."""
    target: str | None = None
    published_at: Timestamp | None = None
    cause: Cause | None = None
    timings: KernelTimings | None = None

    @property
    def confidence(self) -> float:
        """The highest score; 0 without any.

        What is least sure is asked of a person first (Lewis and Gale, 1994).
        """
        return max(self.scores.values(), default=0.0)


class ModelVersion(Event, frozen=True, kw_only=True):
    """One state of one model version; the topic's latest record for a key holds."""

    task: Required
    version: Required
    state: ModelState
    labels: list[str]
    artefact: str
    """Address of the artefact folder: a local path or any fsspec URL."""
    digest: str
    """SHA-256 of the artefact's manifest, which holds the digest of each file."""
    metrics: dict[str, float] = {}
    reason: str = ""
    """Why the version is in this state, in words for a person."""
    changed_at: Timestamp
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Of the threads, those that a canary answers."""
    held: bool = False
    """A person moves it on: the roll-out only watches, and refuses it where it goes wrong."""


class ShadowScore(Event, frozen=True, kw_only=True):
    """What two versions say to one request, of which agents see the first alone."""

    request_id: str
    task: str
    thread: str
    target: str | None = None
    excerpt: str
    answered_by: str
    """The version whose answer lies on `kernel.results`."""
    label: str
    shadowed_by: str
    """The version that was asked aside."""
    shadow_label: str
    """Empty where it failed."""
    error: str = ""
    """Why `shadowed_by` gave nothing; or, where a canary failed on the request and the live
    version answered in its place, what the canary failed of."""
    cost_ms: float = 0.0
    shadow_cost_ms: float = 0.0
    """Of one forward pass over one text of the same length, as this kernel measured both."""
    dropped: int = 0
    """Requests that this kernel has not shadowed for want of time, since it began."""
    scored_at: Timestamp


class ModelSwap(Event, frozen=True, kw_only=True):
    """From this offset of a partition of requests on, other versions answer a task.

    Written in the transaction of the first answer. What lies before it in that partition was
    answered as `before` says, what lies behind it as `route` does.
    """

    task: str
    topic: str
    partition: int
    offset: int
    route: str
    """The live version; with a canary `LIVE+CANARY*SHARE`."""
    before: str
    """Empty for the first one."""
    registry_offset: int
    """How far `kernel.models` had been read when the request was given to its version."""
    swapped_at: Timestamp


class TaskDefinition(Event, frozen=True, kw_only=True):
    """A task as the trainer understands it; the id is the task's name, the latest record holds."""

    task: Task
    defined_at: Timestamp


class LabelledExample(Event, frozen=True, kw_only=True):
    """A text with its right label; a tombstone on the same key withdraws it."""

    task: Required
    text: NonEmpty
    label: Required
    target: Name | None = None
    labeller: str = ""
    published_at: Timestamp | None = None


class TrendWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Sentiment of one ticker over one trailing window of event time."""

    count: int
    positive: int
    neutral: int
    negative: int
    mean: float
    """Mean of P(positive) - P(negative) over the window, in [-1, 1]."""
    momentum: float
    """`mean` less the mean of the window of the same length before it, in [-2, 2]."""


class Trend(Event, frozen=True, kw_only=True):
    """The windows of a ticker after one more result."""

    ticker: str
    as_of: Timestamp
    """Event time of the newest result seen for the ticker: where the windows end."""
    windows: dict[str, TrendWindow]
    """By window name: `5m`, `1h`, `1d`."""
    late: bool
    """The result that caused this update was older than `as_of`."""
    cause: Cause


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """A result that took part in an alert."""

    result_id: str
    text: str
    score: float
    published_at: Timestamp


class Alert(Event, frozen=True, kw_only=True):
    """A burst of negative results about one ticker, against its own baseline."""

    ticker: str
    kind: Literal["negative-burst"] = "negative-burst"
    raised_at: Timestamp
    """Event time of the result that completed the burst."""
    window_s: int
    count: int
    mean: float
    baseline_mean: float
    baseline_count: int
    headlines: list[Headline]
    cause: Cause


class AlertState(Event, frozen=True, kw_only=True):
    """What a person decided about an alert, or about all alerts of a ticker.

    The id is the alert's own, or `ticker:` and the ticker; the topic's latest record holds.
    """

    ticker: Name
    state: Literal["open", "acknowledged", "muted"]
    by: Name
    reason: Name = ""
    changed_at: Timestamp
    until: Timestamp | None = None
    """When a mute ends by itself; None: when somebody ends it."""


class Delivery(Event, frozen=True, kw_only=True):
    """What became of telling one target about one alert; the latest record of an id holds.

    An attempt is claimed before anything is sent, so that none is made twice.
    """

    alert_id: str
    ticker: Name
    target: Name
    """`webhook`, `slack` or `mail`."""
    partition: Count
    offset: Count
    """Where the alert lies on its topic."""
    state: Literal["due", "claimed", "sent", "failed", "unknown", "silenced"]
    """`due`: to be sent from `due_at` on. `claimed`: being sent. `sent`: the target took it.
    `failed`: it did not, and is not asked again. `unknown`: it may have it, so it is not asked
    again. `silenced`: somebody had acknowledged or muted the alert."""
    attempt: Count = 0
    """Attempts claimed so far."""
    detail: Name = ""
    """What the target said last, in words for a person."""
    due_at: Timestamp
    at: Timestamp


class AuditEntry(Event, frozen=True, kw_only=True):
    """Who changed what through the web console, and whether it was allowed."""

    who: Name
    role: Name
    action: Required
    subject: Name
    """What it was done to: an id, a version, a user."""
    outcome: Literal["done", "refused", "failed"]
    detail: dict[str, str] = {}
    at: Timestamp


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it stood on its topic, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []
    whole: bool = True
    """False where key, value or headers were too large to be held here."""


class DeadLetter(Event, frozen=True, kw_only=True):
    """A record that could not be answered: what it was, why, and who says so."""

    error_class: str
    """A stable name from `schemas.errors.ErrorClass`."""
    reason: str
    service: str
    versions: dict[str, str]
    """`headrace`, and the model version of the task where one was involved."""
    source: SourceRecord
    failed_at: Timestamp


class Replayed(Event, frozen=True, kw_only=True):
    """An original was put back on its topic; the id is that of its dead letter.

    Written in the transaction that puts it back.
    """

    topic: str
    partition: int
    replayed_at: Timestamp
