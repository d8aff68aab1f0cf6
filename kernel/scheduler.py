"""The scheduler: which requests make the next batch. Pure; time is an argument.

Three decisions, from the outside in (docs/scheduler.md gives the reasons and the figures):

1. *Class.* The most urgent class that waits leads the batch, but a less urgent one
   that waits is owed its `SHARES` of the capacity and leads as soon as it is owed
   anything. So bulk never starves, and never takes more than it must.
2. *Lane.* Within a class, lanes share by start-time fair queueing (Goyal, Vin, Cheng,
   "Start-time Fair Queueing", SIGCOMM 1996), in rounds: of the lanes that stand in the
   lowest round of virtual time, the one with the oldest request leads, with it. A
   request moves its lane on by its tokens, times the lanes in which its tenant waits,
   over its tenant's weight.
3. *Length.* Padding is most of what a batch wastes, so the batch is filled from the
   leader's length bucket and the next shorter one, lowest lanes first. It is filled to
   the budget, but only a little (`FILL_TOKENS`) with work of lanes that are ahead while
   a lane of an earlier round waits, and half as much with less urgent work, which would
   delay what leads. It is no larger than that either where more urgent work has led
   within `RECENT_S`: what comes next of it waits for a short pass.

Within a lane the order is the lane's own. A lane commits only its finished contiguous
prefix, so a request scored ahead of an earlier one of its lane gains nothing, and
holding the earlier one back delays both: that is why fairness is between lanes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, Final, Generic, TypeVar

from schemas.topics import Urgency

Work = TypeVar("Work")
Model = TypeVar("Model")

URGENCIES: Final[tuple[Urgency, ...]] = ("interactive", "standard", "bulk")
SHARES: Final[dict[Urgency, float]] = {"interactive": 0.0, "standard": 0.25, "bulk": 0.125}
"""Of the capacity, while the class waits; the promise for bulk is 0.1. The rest is by urgency."""
BUCKET_TOKENS: Final = 8
"""Width of a length bucket: finer ones leave batches half empty, coarser ones pad more."""
FILL_TOKENS: Final = 256
"""Up to this size a batch is topped up with what could wait. On a CPU a pass costs what
some 25 tokens do, so a batch of 256 is 0.9 efficient and more would only delay others."""
RECENT_S: Final = 1.0
"""So long after a batch that something more urgent led, more of it is expected."""
ROUND_TOKENS: Final = 2_048
"""Of virtual time. Lanes of one round are served by age: finer rounds punish a lane for
a chance burst, coarser ones let a hot lane delay the others."""
_COMPACT: Final = 64


@dataclass(slots=True, eq=False)
class Request(Generic[Model, Work]):
    """One request that is ready to be scored by `model`; enters a scheduler once."""

    model: Model
    tokens: int
    urgency: Urgency
    lane: Hashable
    """What commits together, in order: in the kernel, a partition of a request topic."""
    work: Work
    tenant: str = ""
    deadline: float | None = None
    """Seconds on the caller's clock; from then on the request is expired."""
    waits: bool = field(default=False, init=False)


_Key = tuple[int, int]
"""Identity of the model, length in buckets."""


class _Lane(Generic[Model, Work]):
    """Where a lane stands in virtual time, and its requests in order."""

    __slots__ = ("listed", "queue", "stands", "waiting")

    def __init__(self) -> None:
        self.stands = 0.0
        self.queue: deque[tuple[int, Request[Model, Work]]] = deque()
        """Begins with one that waits, if any does; others may have left."""
        self.waiting = 0
        self.listed = False
        """Whether it is in the heap of its class."""

    @property
    def round(self) -> float:
        """The round of virtual time in which it stands."""
        return self.stands // ROUND_TOKENS

    @property
    def place(self) -> tuple[float, int]:
        """The order between lanes that wait: by round, then by age. It only rises."""
        return self.stands // ROUND_TOKENS, self.queue[0][0]

    def leave(self) -> None:
        """Count one off that waits no longer."""
        self.waiting -= 1
        while self.queue and not self.queue[0][1].waits:
            self.queue.popleft()
        if len(self.queue) > 2 * self.waiting + _COMPACT:
            self.queue = deque(entry for entry in self.queue if entry[1].waits)


class _Bucket(Generic[Model, Work]):
    """Requests of one model and about one length, by lane.

    Its heap of lanes is put right as it is read: a lane's place only rises, so an entry
    that is out of date stands too low, and is seen.
    """

    __slots__ = ("_heap", "_queues")

    def __init__(self) -> None:
        self._queues: dict[int, deque[Request[Model, Work]]] = {}
        self._heap: list[tuple[float, int, _Lane[Model, Work]]] = []

    def enter(self, lane: _Lane[Model, Work], request: Request[Model, Work]) -> None:
        queue = self._queues.get(id(lane))
        if queue is None:
            queue = self._queues[id(lane)] = deque()
            heappush(self._heap, (*lane.place, lane))
        queue.append(request)

    def lowest(self) -> tuple[_Lane[Model, Work], deque[Request[Model, Work]]] | None:
        """The lane that stands lowest of those that wait here, and its requests here."""
        heap = self._heap
        while heap:
            stands, order, lane = heap[0]
            queue = self._queues[id(lane)]
            while queue and not queue[0].waits:
                queue.popleft()
            if not queue:
                heappop(heap)
                del self._queues[id(lane)]
            elif (stands, order) != lane.place:
                heapreplace(heap, (*lane.place, lane))
            else:
                return lane, queue
        return None

    def compact(self) -> None:
        """Drop what was withdrawn."""
        for name, queue in self._queues.items():
            self._queues[name] = deque(one for one in queue if one.waits)


class _Class(Generic[Model, Work]):
    """The requests of one urgency."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._lanes: dict[Hashable, _Lane[Model, Work]] = {}
        self._buckets: dict[_Key, _Bucket[Model, Work]] = {}
        self._heap: list[tuple[float, int, _Lane[Model, Work]]] = []
        """Lanes, as in a bucket."""
        self._lanes_of: dict[str, Counter[Hashable]] = {}
        """Waiting requests by tenant and lane."""
        self._virtual = 0.0
        """Where the lane stood that led last."""
        self._withdrawn = 0
        self.waiting = 0
        self.owed = 0.0
        """Padded tokens of capacity that the class is owed; negative where it had more."""

    def enter(self, request: Request[Model, Work], order: int) -> None:
        lane = self._lanes.get(request.lane)
        if lane is None:
            lane = self._lanes[request.lane] = _Lane()
        if not lane.waiting:  # idle time is not saved up
            lane.stands = max(lane.stands, self._virtual)
        lane.queue.append((order, request))
        lane.waiting += 1
        key = _key(request)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket()
        bucket.enter(lane, request)
        if not lane.listed:
            lane.listed = True
            heappush(self._heap, (*lane.place, lane))
        self._lanes_of.setdefault(request.tenant, Counter())[request.lane] += 1
        self.waiting += 1

    def lead(self) -> Request[Model, Work]:
        """What is to be scored first; something must wait."""
        lane = self._lowest()
        self._virtual = max(self._virtual, lane.stands)
        return lane.queue[0][1]

    def pop(self, key: _Key, most: int, most_early: int) -> Iterator[Request[Model, Work]]:
        """Take up to `most` requests of a bucket, each from the lane that stands lowest in it.

        From `most_early` on, only as long as no lane that waits is in an earlier round.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            return
        for taken in range(most):
            found = bucket.lowest()
            if found is None:
                self._buckets.pop(key, None)  # the last one to leave has cleared them all
                return
            lane, queue = found
            if taken >= most_early and lane.round > self._lowest().round:
                return
            request = queue.popleft()
            lanes = len(self._lanes_of[request.tenant])
            lane.stands += request.tokens * lanes / self._weights.get(request.tenant, 1.0)
            self.leave(request)
            yield request

    def _lowest(self) -> _Lane[Model, Work]:
        """The lane that stands lowest; something must wait."""
        heap = self._heap
        while True:
            stands, order, lane = heap[0]
            if not lane.waiting:
                heappop(heap)
                lane.listed = False
            elif (stands, order) != lane.place:
                heapreplace(heap, (*lane.place, lane))
            else:
                return lane

    def withdraw(self, request: Request[Model, Work]) -> None:
        self.leave(request)
        self._withdrawn += 1
        if self._withdrawn > max(_COMPACT, self.waiting):
            self._withdrawn = 0
            for bucket in self._buckets.values():
                bucket.compact()

    def leave(self, request: Request[Model, Work]) -> None:
        request.waits = False
        self._lanes[request.lane].leave()
        lanes = self._lanes_of[request.tenant]
        lanes[request.lane] -= 1
        if not lanes[request.lane]:
            del lanes[request.lane]
            if not lanes:
                del self._lanes_of[request.tenant]
        self.waiting -= 1
        if not self.waiting:  # the past is forgotten: all lanes start level
            self._lanes.clear()
            self._buckets.clear()
            self._heap.clear()
            self._virtual = 0.0
            self._withdrawn = 0


class Scheduler(Generic[Model, Work]):
    """Takes requests in and hands out batches of one model and about one length.

    `weights` are those of tenants (1 where none is given); `fill` is the size in padded
    tokens up to which a batch is topped up with what could wait: the whole budget
    where a pass costs much beyond its tokens, as on a GPU.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, fill: int = FILL_TOKENS) -> None:
        self._classes: dict[Urgency, _Class[Model, Work]] = {
            urgency: _Class(dict(weights or {})) for urgency in URGENCIES
        }
        self._fill = fill
        self._deadlines: list[tuple[float, int, Request[Model, Work]]] = []
        """A heap, by deadline and then by order of entering."""
        self._timed = 0
        """Waiting requests that have a deadline; the others of the heap have left."""
        self._late: list[Request[Model, Work]] = []
        self._order = 0
        self._led_at = dict.fromkeys(URGENCIES, -inf)
        """When a class led a batch last."""

    def __len__(self) -> int:
        """Count of waiting requests."""
        return sum(one.waiting for one in self._classes.values())

    def waiting(self, urgency: Urgency) -> int:
        """Count of waiting requests of one class."""
        return self._classes[urgency].waiting

    def enter(self, request: Request[Model, Work]) -> None:
        """Take a request in."""
        self._order += 1
        request.waits = True
        self._classes[request.urgency].enter(request, self._order)
        if request.deadline is not None:
            self._timed += 1
            heappush(self._deadlines, (request.deadline, self._order, request))

    def withdraw(self, request: Request[Model, Work]) -> None:
        """Forget a request; one that has left already is left alone."""
        if request.waits:
            self._classes[request.urgency].withdraw(request)
            self._left(request)

    def expired(self, now: float) -> list[Request[Model, Work]]:
        """Requests whose deadline has come, each handed out once, here and nowhere else."""
        self._expire(now)
        late, self._late = self._late, []
        return late

    def next_deadline(self) -> float | None:
        """When the next waiting request expires."""
        while self._deadlines and not self._deadlines[0][2].waits:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def take(self, now: float, budget: int) -> list[Request[Model, Work]]:
        """The next batch: at most `budget` padded tokens, at least one request; all one model.

        It holds the request that is to be scored first of all, and others of about its
        length; nothing that has expired at `now`. Empty where nothing waits.
        """
        self._expire(now)
        urgency = self._next_class()
        if urgency is None:
            return []
        self._led_at[urgency] = now
        model, length = _key(self._classes[urgency].lead())
        rank = URGENCIES.index(urgency)
        top_up = min(budget, self._fill)
        hurried = any(now - self._led_at[one] < RECENT_S for one in URGENCIES[:rank])
        full, fill, little = (
            max(1, tokens // (length * BUCKET_TOKENS))
            for tokens in (top_up // 2 if hurried else budget, top_up, top_up // 2)
        )
        batch: list[Request[Model, Work]] = []
        for other in (urgency, *URGENCIES[:rank], *URGENCIES[rank + 1 :]):
            most = full if URGENCIES.index(other) <= rank else little
            for bucket in (length, length - 1):
                for request in self._classes[other].pop(
                    (model, bucket), most - len(batch), fill - len(batch)
                ):
                    self._left(request)
                    batch.append(request)
        self._account(batch, budget)
        return batch

    def _next_class(self) -> Urgency | None:
        waiting = [one for one in URGENCIES if self._classes[one].waiting]
        owed = [one for one in waiting if self._classes[one].owed > 0]
        return next(iter(owed or waiting), None)

    def _account(self, batch: list[Request[Model, Work]], budget: int) -> None:
        """Credit each class with its share of the batch's cost, charge it with what it had."""
        padded = max(request.tokens for request in batch)
        for urgency, one in self._classes.items():
            had = padded * sum(request.urgency == urgency for request in batch)
            one.owed += SHARES[urgency] * padded * len(batch) - had
            # What a class took while nobody else wanted it is held against it for one
            # batch only; what it did not ask for is not saved up.
            one.owed = max(-float(budget), min(one.owed, budget if one.waiting else 0.0))

    def _left(self, request: Request[Model, Work]) -> None:
        if request.deadline is None:
            return
        self._timed -= 1
        if len(self._deadlines) > 2 * self._timed + _COMPACT:
            self._deadlines = [entry for entry in self._deadlines if entry[2].waits]
            heapify(self._deadlines)

    def _expire(self, now: float) -> None:
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            request = heappop(self._deadlines)[2]
            self.withdraw(request)
            self._late.append(request)


def _key(request: Request[Any, Any]) -> _Key:
    return id(request.model), -(-request.tokens // BUCKET_TOKENS)
