"""A discrete-event simulation of the kernel: lanes that fetch and commit, passes side by side.

Lanes do what `streams.lane` does: hold at most so many requests, commit the finished
contiguous prefix, at most once an interval. A forward pass costs `a + b * padded
tokens`, which is how ONNX Runtime on a CPU was measured. Time is simulated: a run
gives the same figures on any machine.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

from kernel.scheduler import Request
from proof.bench.policies import Flight, Policy, Waiting
from proof.bench.traces import MEAN_TOKENS, Arrival
from schemas.topics import Urgency


@dataclass(frozen=True, slots=True)
class Costs:
    """What things cost; the defaults were measured on two cores (docs/benchmarks.md)."""

    pass_ms: float = 1.2
    """Of a forward pass, whatever is in it."""
    token_ms: float = 0.11
    """Of each padded token."""
    passes: int = 2
    """Passes that run side by side."""
    budget: int = 512
    """Padded tokens in a batch."""
    ahead: int = 0
    """Batches that are chosen before a forward thread is free to score them."""
    commit_interval_ms: float = 40.0
    commit_ms: float = 15.0
    lane_in_flight: int = 2_048

    def seconds(self, padded: int) -> float:
        """Of a batch."""
        return (self.pass_ms + self.token_ms * padded) / 1000

    @property
    def per_s(self) -> float:
        """Requests a second, of the mean length and without padding: an upper bound."""
        return self.passes * self.budget / MEAN_TOKENS / self.seconds(self.budget)


@dataclass(slots=True)
class Run:
    """What came of a trace."""

    flights: list[Flight]
    ended: float
    busy_s: float = 0.0
    """Of all passes side by side."""
    batches: int = 0
    tokens: int = 0
    padded: int = 0
    padded_by: Counter[Urgency] = field(default_factory=Counter)
    tokens_by_tenant: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Lane:
    to_fetch: deque[Flight] = field(default_factory=deque)
    in_flight: deque[Flight] = field(default_factory=deque)
    committing: bool = False
    last_commit: float = float("-inf")


_Kind = Literal["scored", "commit", "committed"]


class Simulation:
    """One policy over one trace."""

    def __init__(self, trace: Sequence[Arrival], policy: Policy, costs: Costs) -> None:
        self._policy = policy
        self._costs = costs
        self._lanes: dict[tuple[Urgency, int], _Lane] = {}
        self._events: list[tuple[float, int, _Kind, object]] = []
        self._order = 0
        self._chosen: deque[list[Waiting]] = deque()
        self._busy = 0
        self._run = Run([Flight(arrival) for arrival in trace], 0.0)

    def run(self, until: float) -> Run:
        """Play the trace until all is committed, or until a time."""
        arriving = deque(self._run.flights)
        now = 0.0
        while arriving or self._events:
            if arriving and (not self._events or arriving[0].arrival.at <= self._events[0][0]):
                now = arriving[0].arrival.at
                while arriving and arriving[0].arrival.at <= now:
                    self._arrive(arriving.popleft())
            else:
                now, _, kind, about = heappop(self._events)
                if now > until:
                    break
                self._happen(now, kind, about)
            self._expire(now)
            self._score(now)
        self._run.ended = min(now, until)
        return self._run

    def _arrive(self, flight: Flight) -> None:
        lane = self._lanes.setdefault(flight.arrival.lane, _Lane())
        lane.to_fetch.append(flight)
        self._fetch(lane)

    def _fetch(self, lane: _Lane) -> None:
        while lane.to_fetch and len(lane.in_flight) < self._costs.lane_in_flight:
            flight = lane.to_fetch.popleft()
            lane.in_flight.append(flight)
            one = flight.arrival
            self._policy.enter(
                Request("m", one.tokens, one.urgency, one.lane, flight, one.tenant, one.deadline)
            )

    def _at(self, time: float, kind: _Kind, about: object) -> None:
        self._order += 1
        heappush(self._events, (time, self._order, kind, about))

    def _happen(self, now: float, kind: _Kind, about: object) -> None:
        if kind == "scored":
            assert isinstance(about, list)  # noqa: S101
            self._busy -= 1
            for request in about:
                self._answered(now, request.work)
        elif kind == "commit":
            assert isinstance(about, _Lane)  # noqa: S101
            lane, prefix = about, []
            lane.last_commit = now
            while lane.in_flight and lane.in_flight[0].scored is not None:
                prefix.append(lane.in_flight.popleft())
            self._at(now + self._costs.commit_ms / 1000, "committed", (lane, prefix))
        else:
            assert isinstance(about, tuple)  # noqa: S101
            lane, prefix = about
            for flight in prefix:
                flight.committed = now
            lane.committing = False
            self._fetch(lane)
            self._commit(now, lane)

    def _answered(self, now: float, flight: Flight) -> None:
        flight.scored = now
        self._commit(now, self._lanes[flight.arrival.lane])

    def _commit(self, now: float, lane: _Lane) -> None:
        if not lane.committing and lane.in_flight and lane.in_flight[0].scored is not None:
            lane.committing = True
            soonest = lane.last_commit + self._costs.commit_interval_ms / 1000
            self._at(max(now, soonest), "commit", lane)

    def _expire(self, now: float) -> None:
        for request in self._policy.expired(now):
            request.work.expired = True
            self._answered(now, request.work)

    def _score(self, now: float) -> None:
        costs = self._costs
        while len(self._policy) and len(self._chosen) < costs.ahead + (costs.passes - self._busy):
            if batch := self._policy.take(now, costs.budget):
                self._chosen.append(batch)
        while self._busy < costs.passes and self._chosen:
            self._pass(now, self._chosen.popleft())

    def _pass(self, now: float, batch: list[Waiting]) -> None:
        longest = max(request.tokens for request in batch)
        seconds = self._costs.seconds(longest * len(batch))
        run = self._run
        run.busy_s += seconds
        run.batches += 1
        run.padded += longest * len(batch)
        for request in batch:
            run.tokens += request.tokens
            run.padded_by[request.work.arrival.urgency] += longest
            run.tokens_by_tenant[request.tenant] += request.tokens
        self._busy += 1
        self._at(now + seconds, "scored", batch)
