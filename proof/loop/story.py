"""`headrace bench loop`: the closed loop over the whole product, in three acts, all counted.

1. People correct 200 verdicts. A version learns from them, passes the gate, is shadowed,
   answers some threads, then all.
2. Somebody publishes 2,000 wrong labels. The version that learns from them is refused, and
   live quality does not move.
3. A version that looks as good as the live one passes through the shadow, and fails in the
   canary on texts that come only then. It is refused, and every text is answered all the same.

A feed with poison and aborted transactions runs all the time, and at the end the checker of
`proof.chaos` counts every event. Latencies are taken around each swap of versions.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from kernel import promotions, registry
from proof.bench import answers, facts
from proof.bench.answers import Seen
from proof.bench.percentiles import summary
from proof.bench.stand import LABELS, Say
from proof.beside import beside
from proof.chaos.checker import History, check
from proof.chaos.feeder import Feeder
from proof.chaos.history import Entry, Run
from proof.chaos.observer import Observer
from proof.chaos.runner import rest, works
from proof.installation import Installation
from proof.loop import good_looking
from proof.loop.newsroom import STRANGE, Newsroom
from schemas.events import ModelSwap, ModelVersion
from schemas.tasks import SENTIMENT
from schemas.topics import LABELS as LABELS_TOPIC
from schemas.topics import SWAPS
from streams import cluster

TASK: Final = SENTIMENT.name
CORRECTIONS: Final = 200
WRONG: Final = 2_000
CALM_S: Final = 20.0
"""Of feed before and after each act: what latencies and accuracy are compared with."""
ACT_S: Final = 900.0
"""Longest time that an act may take."""
REST_S: Final = 120.0
NEAR_S: Final = (-0.5, 1.0)
"""Around a swap: the answers to what was published then count as near it."""
BEFORE_S: Final = (-6.0, -1.0)
"""Before a swap: what near ones are compared with."""
LOOKING_GOOD: Final = "looks-good"
_SWAP: Final = msgspec.json.Decoder(ModelSwap)


class StoryError(Exception):
    """The loop did not do what it promises; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class Move:
    """A version came into a state, at a time on this machine's clock (epoch, seconds)."""

    at: float
    version: str
    state: str
    share: float
    reason: str

    @classmethod
    def of(cls, one: ModelVersion) -> Move:
        """What the registry says of a version."""
        return cls(one.changed_at.timestamp(), one.version, one.state, one.share, one.reason)


class Moves:
    """Changes of the registry as they come; of several at once, each version's latest."""

    def __init__(self) -> None:
        self.seen: list[Move] = []
        self.versions: dict[str, ModelVersion] = {}
        self._news = asyncio.Event()

    async def follow(self, headrace: Installation) -> None:
        """Read until cancelled."""
        async for known in registry.states(headrace.settings, follow=True):
            for one in known.of_task(TASK):
                if self.versions.get(one.version) != one:
                    self.versions[one.version] = one
                    self.seen.append(Move.of(one))
            self._news.set()

    async def until(self, what: Callable[[Move], bool], about: str) -> Move:
        """The first move that is `what`.

        Raises:
            StoryError: none came in time.
        """
        try:
            async with asyncio.timeout(ACT_S):
                while not (found := [one for one in self.seen if what(one)]):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise StoryError(f"{about}: not within {ACT_S:.0f} s; {self.seen}") from error
        return found[0]

    def settled(self, known: set[str]) -> Callable[[Move], bool]:
        """Whether a version that is not `known` has come to the end of its way."""
        return lambda one: one.version not in known and one.state in {"live", "refused"}


class Watch:
    """Answers as a committed reader had them, by the clock of this machine."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Seen]] = []

    async def follow(self, headrace: Installation) -> None:
        """Read until cancelled."""
        async with answers.reader(headrace.settings) as reader:
            while True:
                found = await reader.next()
                now = time.time() - time.monotonic()
                self.seen += [(one.at + now, one) for one in found]


async def main(folder: Path, say: Say, *, rate: float = 20.0, seed: int = 5) -> dict[str, Any]:
    """Tell the story in the empty `folder`; the figures, as `headrace bench loop` prints them.

    Raises:
        StoryError: an act ended otherwise than it has to.
        InstallationError: `headrace up` does not start.
    """
    newsroom = Newsroom(seed, int(rate * 900))
    async with Installation(folder) as headrace:
        moves, watch = Moves(), Watch()
        feeder = Feeder(headrace.settings, newsroom.event, rate)
        observer = Observer(headrace.settings, newsroom.decode)
        async with beside(moves.follow(headrace)):
            say("teaching the starter model")
            await _publish(headrace, LABELS)
            first = await moves.until(lambda one: one.state == "live", "the starter model is live")
            story = _Story(headrace, newsroom, moves, watch, say)
            feeding = asyncio.create_task(feeder.run())
            async with beside(watch.follow(headrace), observer.follow(newsroom.watched)):
                await works(observer, newsroom)
                acts = await story.told(first)
                feeder.stop()
                await feeding
                behind = await rest(headrace.settings, observer, REST_S)
        say("reading everything, and checking")
        entries: list[Entry] = [Run(seed, 0, "loop"), *newsroom.stages, *feeder.sent]
        entries += observer.live
        entries += await newsroom.everything(observer)
        entries += await observer.ends(newsroom.topics)
        entries += behind
        swaps = [_SWAP.decode(one.value or b"") for one in await observer.records([SWAPS.name])]
        ways = await promotions.history(headrace.settings, TASK)
    history = History.of(entries)
    found = check(history, newsroom.checks)
    sent = {(one.partition, one.offset): one for one in feeder.sent if one.partition >= 0}
    answered = _answered(watch, {place: one.at / 1000 for place, one in sent.items()})
    ids = {place: one.id for place, one in sent.items()}
    return {
        "machine": facts.machine(),
        "rate": rate,
        "events": len(sent),
        "answers": len(watch.seen),
        **acts,
        "accuracy": _accuracy(answered, ids, newsroom, acts["spans"]),
        "swap_delay": _swap_delay(answered, swaps),
        "moves": [msgspec.to_builtins(Move.of(one)) for one in ways],
        "anomalies": dict(sorted(Counter(one.kind for one in found).items())),
        "evidence": [f"{one.kind}: {one.evidence}" for one in found[:20]],
    }


class _Story:
    """The three acts."""

    def __init__(
        self, headrace: Installation, newsroom: Newsroom, moves: Moves, watch: Watch, say: Say
    ) -> None:
        self._headrace = headrace
        self._newsroom = newsroom
        self._moves = moves
        self._watch = watch
        self._say = say
        self._spans: dict[str, tuple[float, float]] = {}

    async def told(self, starter: Move) -> dict[str, Any]:
        """Run the acts one after the other; what came of each."""
        await self._calm("by the starter")
        corrected = await self._corrected({starter.version})
        await self._calm("after the corrections")
        refused = await self._poisoned({starter.version, corrected["version"]})
        await self._calm("after the wrong labels")
        rolled_back = await self._rolled_back(self._moves.versions[corrected["version"]])
        await self._calm("after the roll-back")
        return {
            "corrected": corrected,
            "refused": refused,
            "rolled_back": rolled_back,
            "spans": self._spans,
        }

    async def _calm(self, name: str) -> None:
        began = time.time()
        await asyncio.sleep(CALM_S)
        self._spans[name] = (began, time.time())

    async def _corrected(self, known: set[str]) -> dict[str, Any]:
        self._say(f"publishing {CORRECTIONS} corrections")
        began = time.time()
        await self._labels("corrections.csv", self._newsroom.corrections(CORRECTIONS))
        end = await self._moves.until(self._moves.settled(known), "the corrected version")
        if end.state != "live":
            raise StoryError(f"the version that learned the corrections was refused: {end.reason}")
        heard = [at for at, one in self._watch.seen if one.answer.model_version == end.version]
        self._say(f"live after {end.at - began:.0f} s: {end.reason}")
        return {
            "version": end.version,
            "corrections": CORRECTIONS,
            "to_first_result_s": round(min(heard) - began, 1) if heard else None,
            "to_live_s": round(end.at - began, 1),
            "reason": end.reason,
        }

    async def _poisoned(self, known: set[str]) -> dict[str, Any]:
        self._say(f"publishing {WRONG} wrong labels")
        began = time.time()
        await self._labels("wrong.csv", self._newsroom.wrong(WRONG))
        end = await self._moves.until(self._moves.settled(known), "the version of wrong labels")
        if end.state != "refused":
            raise StoryError(f"a version that learned {WRONG} wrong labels went live")
        self._say(f"refused after {end.at - began:.0f} s: {end.reason}")
        return {
            "version": end.version,
            "wrong": WRONG,
            "to_refusal_s": round(end.at - began, 1),
            "reason": end.reason,
        }

    async def _rolled_back(self, live: ModelVersion) -> dict[str, Any]:
        self._say("announcing a version that looks good")
        settings = self._headrace.settings
        made = await asyncio.to_thread(
            good_looking.make,
            live,
            LOOKING_GOOD,
            STRANGE,
            cache=settings.data / "loop-cache",
            store=settings.models,
            scratch=settings.data / "loop",
        )
        producer = cluster.producer(settings)
        await producer.start()
        try:
            await registry.announce(producer, [made], "loop")
        finally:
            await producer.stop()
        await self._run("models", "shadow", made.version, "--reason", "it looks good")
        canary = await self._moves.until(
            lambda one: one.version == made.version and one.state in {"canary", "refused"},
            "the good-looking version in canary",
        )
        if canary.state != "canary":
            raise StoryError(f"refused before it answered anybody: {canary.reason}")
        self._say(f"in canary; now {STRANGE}s pass")
        self._newsroom.strange = True
        end = await self._moves.until(
            lambda one: one.version == made.version and one.state in {"live", "refused"},
            "the end of the canary",
        )
        if end.state != "refused":
            raise StoryError("a version that fails on every seventh text went live")
        self._say(f"rolled back after {end.at - canary.at:.0f} s: {end.reason}")
        return {
            "version": made.version,
            "canary_to_refusal_s": round(end.at - canary.at, 1),
            "reason": end.reason,
        }

    async def _labels(self, name: str, rows: Sequence[dict[str, str]]) -> None:
        path = self._headrace.data / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ("text", "target", "label"))
            writer.writeheader()
            writer.writerows(rows)
        await _publish(self._headrace, path)

    async def _run(self, *arguments: str) -> None:
        done = await asyncio.to_thread(self._headrace.run, *arguments)
        if done.returncode != 0:
            raise StoryError(f"headrace {' '.join(arguments)}: {done.stderr}")


async def _publish(headrace: Installation, labels: Path) -> None:
    done = await asyncio.to_thread(
        headrace.run, "publish", str(labels), "--topic", LABELS_TOPIC.name, "--speed", "max"
    )
    if done.returncode != 0:
        raise StoryError(f"headrace publish {labels}: {done.stderr}")


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer beside the event that caused it; times are epoch seconds."""

    place: tuple[int, int]
    sent: float
    had: float
    seen: Seen


def _answered(watch: Watch, sent: dict[tuple[int, int], float]) -> list[_Answered]:
    found = []
    for had, seen in watch.seen:
        cause = seen.answer.cause
        if cause is not None and (at := sent.get((cause.partition, cause.offset))) is not None:
            found.append(_Answered((cause.partition, cause.offset), at, had, seen))
    return found


def _accuracy(
    answered: Sequence[_Answered],
    ids: dict[tuple[int, int], str],
    newsroom: Newsroom,
    spans: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """Share of right answers in each calm span, of slang and of the rest."""
    found: dict[str, Any] = {}
    for name, (begin, end) in spans.items():
        right: dict[bool, list[bool]] = {False: [], True: []}
        for one in answered:
            known = newsroom.labels.get(ids.get(one.place, ""))
            if known is not None and begin <= one.sent < end:
                right[known[1]].append(one.seen.answer.label == known[0])
        found[name] = {
            kind: {"n": len(of), "accuracy": round(sum(of) / len(of), 3) if of else None}
            for kind, of in (("slang", right[True]), ("others", right[False]))
        }
    return found


def _swap_delay(answered: Sequence[_Answered], swaps: Sequence[ModelSwap]) -> dict[str, Any]:
    """Event to readable answer around swaps, and a moment before them."""
    times = sorted(one.swapped_at.timestamp() for one in swaps if one.before)

    def around(span: tuple[float, float]) -> list[float]:
        return [
            1000 * (one.had - one.sent)
            for one in answered
            if any(span[0] <= one.sent - at < span[1] for at in times)
        ]

    near, before = (summary(around(span), histogram=False) for span in (NEAR_S, BEFORE_S))
    return {
        "swaps": len(times),
        "near_ms": near,
        "before_ms": before,
        "p99_more_ms": round(near["p99"] - before["p99"], 1),
    }
