"""What the author of an agent writes: a pure function of an event and a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

from schemas import ids
from schemas.envelope import Position
from schemas.events import Cause, Event
from schemas.topics import Topic
from streams.settings import Settings

E = TypeVar("E", bound=Event)
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Emit:
    """One event that an agent says, on the topic `to`, under `key`."""

    to: Topic
    key: str
    event: Event


@dataclass(frozen=True, slots=True)
class Context:
    """Where the event being processed comes from, and names for what it causes."""

    agent: str
    position: Position
    key: str | None
    """The record's key; None where its publisher gave none."""

    def cause(self, index: int) -> Cause:
        """Cause of the emission number `index`, counted from 0, of this event."""
        at = self.position
        return Cause(self.agent, at.topic, at.partition, at.offset, index)

    def emission_id(self, index: int) -> str:
        """Id of the emission number `index`: the same on every replay."""
        return ids.emission_id(self.cause(index))


class Agent(ABC, Generic[E, S]):
    """An agent: for each event of its source, a new state of the thread and emissions.

    `process` and `thread` are pure: the same event and state give the same answer,
    without clock, chance or I/O, and without changing the state they are given.
    After a fault they are called again for events that they have seen before.
    """

    name: ClassVar[str]
    """As it is started and as its consumer group is called, e.g. `finance.trends`."""
    source: ClassVar[Topic]
    emits_to: ClassVar[tuple[Topic, ...]]
    """Every topic that `process` emits to; they are awaited before the start."""

    @classmethod
    def create(cls, settings: Settings) -> Self:  # noqa: ARG003
        """The agent as the settings ask for it."""
        return cls()

    @property
    @abstractmethod
    def state_type(self) -> type[S] | None:
        """Type of the state as msgspec converts it, or None for an agent without state."""

    def thread(self, event: E, context: Context) -> str:  # noqa: ARG002
        """Key of the state. States of different source partitions are always apart."""
        return context.key or ""

    @abstractmethod
    def process(self, event: E, state: S | None, context: Context) -> tuple[S | None, list[Emit]]:
        """The thread's next state and what to say.

        A state that is the very object it was given, or None, is not written anew.

        Raises:
            schemas.errors.Unanswerable: the event becomes one dead letter, nothing
                else is said for it, and the state stays as it was. Any other
                exception does the same under the error class AGENT_FAILED.
        """
