"""Two versions over the same requests: where they agree, and where they differ most.

What a version says is its live result where it answered, else what it was asked again
(`kernel.rescoring`). A request that an agent's replay has put on its topic twice counts once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.envelope import E, Position, decode
from schemas.errors import Unanswerable
from schemas.events import Entity, KernelRequest, KernelResult
from schemas.topics import RESCORED, RESULTS
from streams import reading
from streams.offset_ranges import OffsetRange
from streams.reading import Record
from streams.settings import Settings

Place = tuple[str, int, int]
"""Topic, partition, offset."""
_REMEDY: Final = (
    " of this range: headrace rescore --task %s --model %s, with the same --from and --to, asks it"
)


_HARDLY: Final = 0.01
"""Distance of answers that count as the same: rounding, or another precision."""


class NothingToCompareError(Exception):
    """A version has said nothing about the range; the message says what to do."""


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a version said to one request; the fields are those of a `KernelResult`."""

    label: str
    scores: dict[str, float]
    entities: list[Entity] = []
    vector: list[float] = []
    score: float | None = None

    @classmethod
    def of(cls, result: KernelResult) -> Said:
        """What stands in `result`."""
        return cls(result.label, result.scores, result.entities, result.vector, result.score)

    def distance(self, other: Said) -> float:
        """How far apart two answers of one kind of model are, in [0, 1].

        Labels: total variation distance. Entities: Jaccard distance of the sets. Vectors:
        half of one less the cosine. Relevance: difference of the probabilities.
        """
        if self.vector or other.vector:
            pairs = zip(self.vector, other.vector, strict=False)
            return min(max(0.0, (1 - sum(one * two for one, two in pairs)) / 2), 1.0)
        if self.score is not None and other.score is not None:
            return abs(_probability(self.score) - _probability(other.score))
        if self.scores or other.scores:
            return sum(map(abs, self.moves(other).values())) / 2
        mine, its = (
            {(one.label, one.start, one.end) for one in said.entities} for said in (self, other)
        )
        return 1 - len(mine & its) / len(mine | its) if mine | its else 0.0

    def agrees(self, other: Said) -> bool:
        """The same label; where there is none, answers that are hardly apart."""
        if self.label or other.label:
            return self.label == other.label
        return self.distance(other) <= _HARDLY

    def moves(self, other: Said) -> dict[str, float]:
        """By label, the score that `other` gives it less this one's."""
        labels = dict.fromkeys([*self.scores, *other.scores])
        return {
            label: other.scores.get(label, 0.0) - self.scores.get(label, 0.0) for label in labels
        }


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One request on which the versions differ."""

    topic: str
    partition: int
    offset: int
    request_id: str
    text: str
    target: str | None
    a: Said
    b: Said
    distance: float
    """As `Said.distance` says."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Version `b` against version `a` over the same requests."""

    task: str
    a: str
    b: str
    requests: int
    """Requests of the task in the range."""
    both: int
    only_a: int
    only_b: int
    neither: int
    agreeing: int
    """Requests to which both give the same label; of models without labels, as `Said.agrees`."""
    agreement: float
    """Their share of `both`."""
    transitions: dict[str, dict[str, int]]
    """Requests by label of `a`, then by label of `b`."""
    change: dict[str, float]
    """Mean over `both` of b's score of a label less a's."""
    distance: float
    """Mean over `both` of `Said.distance`."""
    furthest: list[Difference]
    """The requests of the largest distance, the largest first."""


async def compare(
    settings: Settings,
    task: str,
    versions: tuple[str, str],
    ranges: Sequence[OffsetRange],
    show: int = 10,
) -> Comparison:
    """Compare what two versions of a task said to the requests in `ranges`.

    `show` is how many of the furthest differences to give.

    Raises:
        NothingToCompareError: one of them said nothing, or nothing that the other answered too.
        StalledError: the cluster went away.
    """
    places = await _places(settings, task, ranges)
    if not places:
        raise NothingToCompareError(f"the range holds no request of {task!r}")
    said = await _said(settings, task, set(versions), places)
    a, b = versions
    for version in versions:
        if not said[version]:
            raise NothingToCompareError(f"{version} has said nothing{_REMEDY % (task, version)}")
    both = [name for name in places if name in said[a] and name in said[b]]
    if not both:
        raise NothingToCompareError(f"{a} and {b} answered different requests{_REMEDY % (task, a)}")
    tally = _Tally()
    for name in both:
        tally.add(name, said[a][name], said[b][name])
    furthest = heapq.nlargest(show, both, key=tally.distances.__getitem__)
    return Comparison(
        task=task,
        a=a,
        b=b,
        requests=len(places),
        both=len(both),
        only_a=len(said[a]) - len(both),
        only_b=len(said[b]) - len(both),
        neither=len(places) - len(said[a].keys() | said[b].keys()),
        agreeing=tally.agreeing,
        agreement=tally.agreeing / len(both),
        transitions=tally.transitions,
        change={label: round(total / len(both), 6) for label, total in tally.change.items()},
        distance=round(sum(tally.distances.values()) / len(both), 6),
        furthest=[
            Difference(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                request_id=request.id,
                text=request.text,
                target=request.target,
                a=said[a][request.id],
                b=said[b][request.id],
                distance=round(tally.distances[request.id], 6),
            )
            for record in await reading.at(settings, [places[name] for name in furthest])
            if (request := _decoded(KernelRequest, record)) is not None
        ],
    )


class _Tally:
    """Sums over the requests that both versions answered."""

    def __init__(self) -> None:
        self.agreeing = 0
        self.transitions: dict[str, dict[str, int]] = {}
        self.change: dict[str, float] = {}
        self.distances: dict[str, float] = {}

    def add(self, name: str, one: Said, other: Said) -> None:
        """Count in what the versions said to the request `name`."""
        self.agreeing += one.agrees(other)
        if one.label or other.label:
            row = self.transitions.setdefault(one.label, {})
            row[other.label] = row.get(other.label, 0) + 1
        for label, move in one.moves(other).items():
            self.change[label] = self.change.get(label, 0.0) + move
        self.distances[name] = one.distance(other)


async def _places(settings: Settings, task: str, ranges: Sequence[OffsetRange]) -> dict[str, Place]:
    """Where each request of the task in `ranges` lies first, by its id."""
    places: dict[str, Place] = {}
    parts = [one.partition for one in ranges]
    async with reading.assigned(settings, parts) as consumer:
        for one in ranges:
            consumer.seek(one.partition, one.begin)
        ends = {one.partition: one.end for one in ranges}
        async for record in reading.up_to(consumer, parts, ends):
            request = _decoded(KernelRequest, record)
            if request is not None and request.task == task:
                place = (record.topic, record.partition, record.offset)
                places.setdefault(request.id, place)
    return places


async def _said(
    settings: Settings, task: str, versions: set[str], places: dict[str, Place]
) -> dict[str, dict[str, Said]]:
    """What each of `versions` said, by version and request id."""
    live: dict[str, dict[str, Said]] = {version: {} for version in versions}
    again: dict[str, dict[str, Said]] = {version: {} for version in versions}
    async for record in reading.read(settings, [RESULTS.name, RESCORED.name]):
        result = _decoded(KernelResult, record)
        if result is None or result.task != task or result.status != "scored":
            continue
        if result.model_version in versions and result.request_id in places:
            found = live if record.topic == RESULTS.name else again
            found[result.model_version][result.request_id] = Said.of(result)
    return {version: again[version] | live[version] for version in versions}


def _decoded(kind: type[E], record: Record) -> E | None:
    """The record's event; None where it is none: live, that ended as a dead letter."""
    at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
    try:
        return decode(kind, record.value, record.headers, at)
    except Unanswerable:
        return None


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(log_odds, 700.0), -700.0)))
