"""The one catalogue of topics: names, keys, what they carry, how long they keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

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
RESCORED: Final = Topic(
    name="kernel.rescored",
    carries=KernelResult,
    key="thread",
    about="Answers of another version to requests answered before: `headrace rescore`.",
    # Longer than requests are kept: what was rescored is never gone before its request.
    retention_ms=30 * _DAY_MS,
)
SHADOW: Final = Topic(
    name="kernel.shadow",
    carries=ShadowScore,
    key="thread",
    about="What a version on trial says to requests that another one answered.",
    retention_ms=_DAY_MS,
)
SWAPS: Final = Topic(
    name="kernel.swaps",
    carries=ModelSwap,
    key="task",
    about="From which offset on which version answers, for each partition of requests.",
    partitions=1,
    retention_ms=365 * _DAY_MS,
)
MODELS: Final = Topic(
    name="kernel.models",
    carries=ModelVersion,
    key="task/version",
    about="State of each model version; read from the start to know the present.",
    partitions=1,
    compacted=True,
    # `headrace models history` reads what is not compacted yet.
    config={"min.compaction.lag.ms": str(90 * _DAY_MS)},
)
TASK_DEFINITIONS: Final = Topic(
    name="kernel.tasks",
    carries=TaskDefinition,
    key="task",
    about="What each task asks, its labels, metric and gate: one definition for all who ask, "
    "answer or teach.",
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
REPLAYS: Final = Topic(
    name="dead-letters.replays",
    carries=Replayed,
    key="id of the dead letter",
    about="Dead letters whose originals were put back: none is put back twice.",
    partitions=1,
    # Longer than any dead letter is kept, the rest of its segment included.
    retention_ms=90 * _DAY_MS,
)

ALERT_STATES: Final = Topic(
    name="console.alert-states",
    carries=AlertState,
    key="alert id, or `ticker:` and the ticker",
    about="What people decided about alerts: acknowledged, muted, open again.",
    partitions=1,
    compacted=True,
)
DELIVERIES: Final = Topic(
    name="console.deliveries",
    carries=Delivery,
    key="delivery id",
    about="Every attempt to tell a target about an alert: claimed before, its outcome after.",
    partitions=1,
    # Longer than any alert is kept: what was claimed is never sent again.
    retention_ms=30 * _DAY_MS,
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
        RESCORED,
        SHADOW,
        SWAPS,
        MODELS,
        TASK_DEFINITIONS,
        LABELS,
        OUTBOX,
        TRENDS,
        ALERTS,
        DEAD_LETTERS,
        REPLAYS,
        ALERT_STATES,
        DELIVERIES,
        AUDIT,
    )
}
MAX_MESSAGE_BYTES: Final = max(topic.max_message_bytes for topic in CATALOGUE.values())
