"""What the scheduler is compared with: the policies of a consumer written by hand.

`fifo` and `round robin` pack a batch from what comes next, whatever its length.
`fifo, sorted` adds length buckets, and `by thread` is the scheduler with fairness
between threads where ours has it between lanes: they tell apart what each idea brings.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from kernel.scheduler import Request, Scheduler
from proof.bench.traces import Arrival
from schemas.topics import Urgency


@dataclass(slots=True, eq=False)
class Flight:
    """An arrival on its way through the simulated kernel; times in seconds, None: not yet."""

    arrival: Arrival
    scored: float | None = None
    committed: float | None = None
    expired: bool = False


Waiting = Request[str, Flight]


class Policy(Protocol):
    """What the simulation asks of a scheduler."""

    def __len__(self) -> int:
        """Count of waiting requests."""

    def enter(self, request: Waiting) -> None:
        """Take a request in."""

    def take(self, now: float, budget: int) -> list[Waiting]:
        """The next batch."""

    def expired(self, now: float) -> list[Waiting]:
        """What is to be answered unscored."""


class RoundRobin:
    """One request of each flow in turn; with one flow, first come, first served."""

    def __init__(self, flow: Callable[[Arrival], Hashable]) -> None:
        self._flow = flow
        self._queues: OrderedDict[Hashable, deque[Waiting]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Count of waiting requests."""
        return self._size

    def enter(self, request: Waiting) -> None:
        """Take a request in."""
        self._queues.setdefault(self._flow(request.work.arrival), deque()).append(request)
        self._size += 1

    def take(self, now: float, budget: int) -> list[Waiting]:  # noqa: ARG002
        """What comes next, until the next one would not fit."""
        batch: list[Waiting] = []
        longest = 0
        while self._queues:
            flow, queue = next(iter(self._queues.items()))
            longest = max(longest, queue[0].tokens)
            if batch and longest * (len(batch) + 1) > budget:
                break
            batch.append(queue.popleft())
            self._size -= 1
            if queue:
                self._queues.move_to_end(flow)
            else:
                del self._queues[flow]
        return batch

    def expired(self, now: float) -> list[Waiting]:  # noqa: ARG002
        """Nothing: it does not know deadlines."""
        return []


@dataclass(slots=True)
class Regrouped:
    """The scheduler, but for what it takes as a lane and as a class."""

    lane: Callable[[Arrival], Hashable]
    urgency: Callable[[Arrival], Urgency]
    weights: Mapping[str, float] = field(default_factory=dict)
    inner: Scheduler[str, Flight] = field(init=False)

    def __post_init__(self) -> None:
        self.inner = Scheduler(self.weights)

    def __len__(self) -> int:
        """Count of waiting requests."""
        return len(self.inner)

    def enter(self, request: Waiting) -> None:
        """Take a request in."""
        arrival = request.work.arrival
        request.lane, request.urgency = self.lane(arrival), self.urgency(arrival)
        self.inner.enter(request)

    def take(self, now: float, budget: int) -> list[Waiting]:
        """As the scheduler does."""
        return self.inner.take(now, budget)

    def expired(self, now: float) -> list[Waiting]:
        """As the scheduler does."""
        return self.inner.expired(now)


OURS: Final = "headrace"
POLICIES: Final[dict[str, Callable[[Mapping[str, float]], Policy]]] = {
    "fifo": lambda _: RoundRobin(lambda _: None),
    "fifo, sorted": lambda _: Regrouped(lambda _: None, lambda _: "standard"),
    "round robin": lambda _: RoundRobin(lambda one: one.thread),
    "by thread": lambda weights: Regrouped(
        lambda one: one.thread, lambda one: one.urgency, weights
    ),
    OURS: Scheduler,
}
