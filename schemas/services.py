"""Who reads and writes which topic: the one statement of it, held to the code by a test.

AsyncAPI's operations are made from this table (`schemas.asyncapi`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.topics import (
    ALERT_STATES,
    ALERTS,
    AUDIT,
    DEAD_LETTERS,
    DELIVERIES,
    FEED_EVENTS,
    LABELS,
    MODELS,
    OUTBOX,
    REPLAYS,
    REQUESTS,
    RESCORED,
    RESULTS,
    SHADOW,
    SWAPS,
    TASK_DEFINITIONS,
    TRENDS,
    Topic,
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process of Headrace, and the topics that it reads and writes."""

    name: str
    about: str
    reads: tuple[Topic, ...]
    produces: tuple[Topic, ...] = ()
    """Topics that it produces to itself."""
    by_outbox: tuple[Topic, ...] = ()
    """Topics on which the relay makes appear what this agent says."""

    @property
    def writes(self) -> tuple[Topic, ...]:
        """Every topic that its own producer writes to."""
        return (*self.produces, OUTBOX) if self.by_outbox else self.produces


KERNEL: Final = Service(
    name="kernel",
    about="Scores requests with the live models, in transactions.",
    reads=(*REQUESTS.values(), MODELS),
    produces=(RESULTS, SWAPS, SHADOW, DEAD_LETTERS),
)
RELAY: Final = Service(
    name="relay",
    about="Makes what agents say appear once on its topic.",
    reads=(OUTBOX,),
    produces=(TRENDS, ALERTS, DEAD_LETTERS),
)
READER: Final = Service(
    name="finance.reader",
    about="Finds the companies of each text and asks the kernel about every one.",
    reads=(FEED_EVENTS,),
    produces=(REQUESTS["standard"],),
    by_outbox=(DEAD_LETTERS,),
)
FINANCE_TRENDS: Final = Service(
    name="finance.trends",
    about="Keeps each ticker's windows over event time.",
    reads=(RESULTS,),
    by_outbox=(TRENDS, DEAD_LETTERS),
)
FINANCE_ALERTS: Final = Service(
    name="finance.alerts",
    about="Raises a ticker's bursts of negative results, each once.",
    reads=(RESULTS,),
    by_outbox=(ALERTS, DEAD_LETTERS),
)
ROLLOUT: Final = Service(
    name="rollout",
    about="Takes versions that passed the gate from shadow to canary to live, or refuses them.",
    reads=(RESULTS, SHADOW, LABELS, MODELS),
    produces=(MODELS,),
)
TRAINER: Final = Service(
    name="trainer",
    about="Learns from labelled examples and announces model versions.",
    reads=(LABELS, MODELS),
    produces=(MODELS, TASK_DEFINITIONS, DEAD_LETTERS),
)
NOTIFY: Final = Service(
    name="notify",
    about="Tells webhook, Slack and mail about alerts, each at most once.",
    reads=(ALERTS, ALERT_STATES, DELIVERIES),
    produces=(DELIVERIES,),
)
CONSOLE: Final = Service(
    name="console",
    about="What a person does, at the command line or in the web console: publish, look on, "
    "label, acknowledge, promote, roll back, rescore, replay.",
    reads=(
        FEED_EVENTS,
        *REQUESTS.values(),
        RESULTS,
        RESCORED,
        SHADOW,
        SWAPS,
        MODELS,
        TASK_DEFINITIONS,
        LABELS,
        TRENDS,
        ALERTS,
        DEAD_LETTERS,
        REPLAYS,
        ALERT_STATES,
        DELIVERIES,
        AUDIT,
    ),
    produces=(
        FEED_EVENTS,
        *REQUESTS.values(),
        RESCORED,
        LABELS,
        MODELS,
        REPLAYS,
        ALERT_STATES,
        AUDIT,
    ),
)

SERVICES: Final[dict[str, Service]] = {
    service.name: service
    for service in (
        KERNEL,
        RELAY,
        READER,
        FINANCE_TRENDS,
        FINANCE_ALERTS,
        ROLLOUT,
        TRAINER,
        NOTIFY,
        CONSOLE,
    )
}
