"""The one catalogue of topics: names, keys, what they carry, how long they keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.events import (
    Alert,
    AlertState,
    AuditEntry,
    DeadLetter,
    Event,
    FeedEvent,
    KernelRequest,
    KernelResult,
    LabelledExample,
    ModelVersion,
    Trend,
)

Urgency = Literal["interactive", "standard", "bulk"]

_DAY_MS: Final = 86_400_000
_MIB: Final = 1_048_576
_LETTER_BYTES: Final = 5 * _MIB
"""A dead letter of a 2 MiB record: all of it in base64 (4/3), and its key once more as its own."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic of the catalogue.

    `partitions` is None where the cluster's setting decides (`Settings.partitions`):
    those topics carry threads. `retention_ms` of -1 keeps everything.
    """

    name: str
    carries: type[Event] | None
    """Type of the body; None for the outbox, whose messages are of many types."""
    key: str
    about: str
    partitions: int | None = None
    retention_ms: int = 7 * _DAY_MS
    compacted: bool = False
    max_message_bytes: int = _MIB
    config: dict[str, str] = field(default_factory=dict)

    def configs(self) -> dict[str, str]:
        """Broker-side settings of the topic, as Kafka names them."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(-1 if self.compacted else self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            **self.config,
        }


FEED_EVENTS: Final = Topic(
    name="feed.events",
    carries=FeedEvent,
    key="name of the feed, or what its publisher keeps in order",
    about="Live text as it arrives.",
    # A text of 1 MB must reach the reader to be refused with its bytes kept.
    max_message_bytes=2 * _MIB,
)
REQUESTS: Final[dict[Urgency, Topic]] = {
    urgency: Topic(
        name=f"kernel.requests.{urgency}",
        carries=KernelRequest,
        key="thread",
        about=f"Questions to the kernel, urgency {urgency}.",
        max_message_bytes=2 * _MIB,
    )
    for urgency in ("interactive", "standard", "bulk")
}
RESULTS: Final = Topic(
    name="kernel.results",
    carries=KernelResult,
    key="thread",
    about="One answer to each request that did not end as a dead letter.",
)
MODELS: Final = Topic(
    name="kernel.models",
    carries=ModelVersion,
    key="task/version",
    about="State of each model version; read from the start to know the present.",
    partitions=1,
    compacted=True,
)
LABELS: Final = Topic(
    name="labels.examples",
    carries=LabelledExample,
    key="example id",
    about="Labelled events; a tombstone withdraws one.",
    # Not compacted: a dataset is a range of offsets and must be readable again.
    retention_ms=-1,
)
OUTBOX: Final = Topic(
    name="agents.outbox",
    carries=None,
    key="thread",
    about="What agents emit, replays included, on its way to the topic named in `headrace-to`.",
    retention_ms=_DAY_MS,
    max_message_bytes=_LETTER_BYTES,
)
TRENDS: Final = Topic(
    name="finance.trends", carries=Trend, key="ticker", about="Sentiment windows per ticker."
)
ALERTS: Final = Topic(
    name="finance.alerts", carries=Alert, key="ticker", about="Negative bursts, once each."
)
DEAD_LETTERS: Final = Topic(
    name="dead-letters",
    carries=DeadLetter,
    key="key of the original",
    about="Records that could not be answered: bytes, reason, position, versions.",
    retention_ms=30 * _DAY_MS,
    max_message_bytes=_LETTER_BYTES,
)

ALERT_STATES: Final = Topic(
    name="console.alert-states",
    carries=AlertState,
    key="alert id, or `ticker:` and the ticker",
    about="What people decided about alerts: acknowledged, muted, open again.",
    partitions=1,
    compacted=True,
)
AUDIT: Final = Topic(
    name="console.audit",
    carries=AuditEntry,
    key="who",
    about="Every change made through the web console: who, what, when, how it ended.",
    partitions=1,
    retention_ms=365 * _DAY_MS,
)

CATALOGUE: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        FEED_EVENTS,
        *REQUESTS.values(),
        RESULTS,
        MODELS,
        LABELS,
        OUTBOX,
        TRENDS,
        ALERTS,
        DEAD_LETTERS,
        ALERT_STATES,
        AUDIT,
    )
}
MAX_MESSAGE_BYTES: Final = max(topic.max_message_bytes for topic in CATALOGUE.values())
