"""The checker: from a history to the anomalies in it, each with its evidence.

What is checked is the law of delivery (docs/delivery.md): every record that the
brokers acknowledged ends, for each answer that it is owed, in exactly one result or
exactly one dead letter, visible to a read_committed reader, in order within a key.

Records are told apart by position (topic, partition, offset), inputs by position
too, and answers by the position that they name as their source. Comparing how many
went in with how many came out, which is what most tests do, sees almost none of
what follows: one lost and one doubled make the sum come out even.

lost
    An acknowledged record that is not where it was acknowledged; a record that a
    committed reader saw and that is gone at the end; or an answer owed that is not
    there when all is quiet. A test that waits for the expected count and stops
    accepts a doubled record in place of a lost one.
duplicate
    More than one result, or more than one dead letter, for one answer owed; or a
    record that stands more often on its topic than it was published. Comparing
    record ids misses an answer that was computed twice under two ids: what counts
    is which source the two name.
both
    A result and a dead letter for one answer owed. Each topic by itself is clean.
aborted-read
    A committed reader saw, during the faults, what was aborted in the end; or an
    answer names a source that only a read_uncommitted reader can see. Reading the
    end state alone misses it: the aborted record is no longer there, but what was
    made of it is.
out-of-order
    Of two answers under one key, on one topic, the first stands for a later source
    than the second. A global order does not exist and a test for one fails on
    correct systems; sorting before comparing hides it altogether. Compared are the
    first answers for each source, per key and source partition.
divergent
    Two readers saw different records at one position: history was rewritten.
stalled
    A consumer group had not caught up when the run's patience ended. An answer that
    is missing because nobody has read its source yet is this, and not lost.
phantom
    An answer to something that nobody published, or more answers than were owed.
    Nobody who looks up each input among the outputs ever meets it.
wrong-verdict
    A record known to be poison that got a result, or a good one that ended as a
    dead letter. Without this a service that refuses everything is perfect.
version-flip-back
    Within a partition of answers, a model version that had been replaced answers
    again, with no announcement that made it live again. Names of versions do not
    sort, and a rollback is a return that is right: the versions seen have to be a
    walk forwards through the announcements.
hanging-transaction
    After quiet, a partition's last stable offset is below its end: a transaction
    that nobody will end holds every committed reader back for ever. What was
    written before it is all there and correct, so counting sees nothing until the
    readers starve.
trend-differs
    The last trend of a ticker is not what the definition gives over all results of
    that ticker. A state that went wrong in a fault corrupts contents, not counts.
alert-missing, alert-doubled, alert-unfounded
    The alerts are not those that the agent, a pure function, raises when it is run
    over the results as they stand: too few, the same one twice, or one too many.

The idea of naming anomalies and reporting each with its witnesses is that of
jepsen-io/jepsen, `tests/kafka.clj`; reading at both isolation levels, during the
faults and after, is that of Apache Kafka's `transactions_test.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from proof.chaos.history import Announced, Behind, Ends, Entry, Seen, Sent, Source, Stage

Place = tuple[str, int, int]
FOREVER: Final = 2**63


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that is wrong, and how it shows."""

    kind: str
    evidence: str


@dataclass
class History:
    """The entries of a history, sorted by what they are; made once, read by every check."""

    stages: list[Stage] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    live: list[Seen] = field(default_factory=list)
    """What committed readers saw during the faults."""
    committed: dict[Place, Seen] = field(default_factory=dict)
    """What a committed reader saw at the end."""
    uncommitted: dict[Place, Seen] = field(default_factory=dict)
    announced: list[Announced] = field(default_factory=list)
    ends: list[Ends] = field(default_factory=list)
    behind: list[Behind] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> History:
        """Sort entries in."""
        found = cls()
        for entry in entries:
            found._take(entry)
        return found

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, Seen):
            if entry.isolation == "uncommitted":
                self.uncommitted[entry.place] = entry
            elif entry.final:
                self.committed[entry.place] = entry
            else:
                self.live.append(entry)
        elif isinstance(entry, Sent):
            self.sent.append(entry)
        elif isinstance(entry, Stage):
            self.stages.append(entry)
        elif isinstance(entry, Announced):
            self.announced.append(entry)
        elif isinstance(entry, Ends):
            self.ends.append(entry)
        elif isinstance(entry, Behind):
            self.behind.append(entry)

    def on(self, topic: str) -> list[Seen]:
        """Committed records of a topic at the end, by partition and offset."""
        found = [seen for seen in self.committed.values() if seen.topic == topic]
        return sorted(found, key=lambda seen: seen.place)

    def answers(self, stage: str) -> list[Seen]:
        """Committed answers of a stage at the end, by position."""
        found = [seen for seen in self.committed.values() if seen.stage == stage]
        return sorted(found, key=lambda seen: seen.place)


Check = Callable[[History], Iterator[Anomaly]]


def check(history: History, extra: Iterable[Check] = ()) -> list[Anomaly]:
    """Every anomaly of a history; `extra` are checks of what an application derives."""
    return [found for one in (*CHECKS, *extra) for found in one(history)]


def publishing(history: History) -> Iterator[Anomaly]:
    """What was published stands where it was acknowledged, and no more often."""
    topics = {sent.topic for sent in history.sent}
    standing = Counter(
        (seen.topic, seen.id) for seen in history.committed.values() if seen.topic in topics
    )
    published: Counter[tuple[str, str]] = Counter()
    for sent in history.sent:
        name = (sent.topic, sent.id)
        published[name] += 1
        place = (sent.topic, sent.partition, sent.offset)
        if sent.outcome == "aborted":
            if standing[name]:
                yield Anomaly("aborted-read", f"{sent.id} was aborted and stands on {sent.topic}")
        elif sent.outcome == "acknowledged":
            found = history.committed.get(place)
            if found is None or found.id != sent.id:
                there = "nothing" if found is None else found.id
                yield Anomaly("lost", f"{sent.id} was acknowledged at {place}; there is {there}")
    for (topic, event_id), count in standing.items():
        if count > published[topic, event_id] > 0:
            yield Anomaly("duplicate", f"{event_id} stands {count} times on {topic}")


def reading(history: History) -> Iterator[Anomaly]:
    """Readers agree with each other, live and at the end, at both isolation levels."""
    for seen in history.live:
        last = history.committed.get(seen.place)
        if last is None:
            if seen.place in history.uncommitted:
                yield Anomaly("aborted-read", f"{seen} was read as committed; it was aborted")
            else:
                yield Anomaly("lost", f"{seen} was read as committed; at the end it is gone")
        elif last.id != seen.id:
            yield Anomaly("divergent", f"{seen} for reader {seen.reader}; at the end {last.id}")
    for place, seen in history.committed.items():
        other = history.uncommitted.get(place)
        if other is not None and other.id != seen.id:
            yield Anomaly("divergent", f"{seen} if committed reads are right, else {other.id}")


def answering(history: History) -> Iterator[Anomaly]:
    """Every answer owed is there once, as a result or as a dead letter, and none else."""
    for stage in history.stages:
        yield from _Answers(history, stage).anomalies()


class _Answers:
    """The answers of one stage, by what they answer."""

    def __init__(self, history: History, stage: Stage) -> None:
        self._history = history
        self._stage = stage
        self._found: dict[Place, dict[int | None, list[Seen]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._nameless: list[Seen] = []
        self._unread = {(one.topic, one.partition): one.committed for one in history.behind}
        for answer in history.answers(stage.name):
            if answer.source is None:
                self._nameless.append(answer)
            else:
                place = (answer.source.topic, answer.source.partition, answer.source.offset)
                self._found[place][answer.source.index].append(answer)

    def anomalies(self) -> Iterator[Anomaly]:
        for answer in self._nameless:
            yield Anomaly("phantom", f"{answer} names nothing that it answers")
        for owing in self._history.on(self._stage.source):
            yield from self._owed(owing, self._found.pop(owing.place, {}))
        for place, groups in self._found.items():
            kind = "aborted-read" if place in self._history.uncommitted else "phantom"
            what = "was aborted" if kind == "aborted-read" else "nobody published"
            for answers in groups.values():
                for answer in answers:
                    yield Anomaly(kind, f"{answer} answers {place}, which {what}")

    def _owed(self, owing: Seen, groups: dict[int | None, list[Seen]]) -> Iterator[Anomaly]:
        whole = groups.get(None, [])
        for index in range(owing.owed):
            yield from self._one(owing, index, [*groups.get(index, []), *whole])
        for named, answers in groups.items():
            surplus = owing.owed == 0 if named is None else named >= owing.owed
            if surplus:
                for answer in answers:
                    yield Anomaly("phantom", f"{answer} answers {owing}, which is owed none such")

    def _one(self, owing: Seen, index: int, answers: list[Seen]) -> Iterator[Anomaly]:
        what = f"answer {index} of stage {self._stage.name} to {owing}"
        if not answers:
            if owing.offset < self._unread.get((owing.topic, owing.partition), FOREVER):
                yield Anomaly("lost", f"no {what}")
            return
        by_verdict: dict[str, list[Seen]] = defaultdict(list)
        for answer in answers:
            by_verdict[answer.verdict].append(answer)
        if len(by_verdict) > 1:
            yield Anomaly("both", f"{what}: {_list(answers)}")
        for verdict, same in by_verdict.items():
            if len(same) > 1:
                yield Anomaly("duplicate", f"{what}, as {verdict}: {_list(same)}")
        if owing.wanted and len(by_verdict) == 1 and owing.wanted not in by_verdict:
            yield Anomaly("wrong-verdict", f"{what} has to be a {owing.wanted}: {_list(answers)}")


def ordering(history: History) -> Iterator[Anomaly]:
    """Answers under one key stand in the order of their sources."""
    for stage in history.stages:
        last: dict[tuple[str, str, str, int], tuple[tuple[int, int], Seen]] = {}
        met: set[Source] = set()
        for answer in history.answers(stage.name):
            source = answer.source
            if source is None or answer.verdict == "dead-letter" or source in met:
                continue
            met.add(source)
            stream = (answer.topic, answer.key, source.topic, source.partition)
            rank = (source.offset, source.index or 0)
            before = last.get(stream)
            if before is not None and before[0] > rank:
                yield Anomaly(
                    "out-of-order",
                    f"key {answer.key!r}: {before[1]} answers {before[0]} of {source.topic}:"
                    f"{source.partition}, and after it {answer} answers {rank}",
                )
            last[stream] = (
                max(before, (rank, answer), key=lambda one: one[0])
                if before
                else (
                    rank,
                    answer,
                )
            )


def versions(history: History) -> Iterator[Anomaly]:
    """Versions seen in a partition are a walk forwards through the announcements."""
    walk: dict[str, list[str]] = defaultdict(list)
    for announced in history.announced:
        walk[announced.task].append(announced.version)
    at: dict[tuple[str, int, str], int] = {}
    for stage in history.stages:
        for answer in history.answers(stage.name):
            if not answer.version:
                continue
            lane = (answer.topic, answer.partition, answer.task)
            steps = walk[answer.task]
            step = at.get(lane, 0)
            while step < len(steps) and steps[step] != answer.version:
                step += 1
            if step < len(steps):
                at[lane] = step
            else:
                now = steps[at[lane]] if lane in at else "nothing"
                yield Anomaly("version-flip-back", f"{answer} is by {answer.version}, after {now}")


def transactions(history: History) -> Iterator[Anomaly]:
    """Nothing is left open."""
    for end in history.ends:
        if end.committed < end.uncommitted:
            yield Anomaly(
                "hanging-transaction",
                f"{end.topic}:{end.partition}: committed readers end at {end.committed}, the "
                f"partition at {end.uncommitted}",
            )


def resting(history: History) -> Iterator[Anomaly]:
    """Everybody has read everything."""
    for one in history.behind:
        yield Anomaly(
            "stalled",
            f"{one.group} stands at {one.committed} of {one.topic}:{one.partition}, "
            f"{one.lag} records from the end",
        )


def _list(answers: Iterable[Seen]) -> str:
    return ", ".join(str(answer) for answer in answers)


CHECKS: Final[tuple[Check, ...]] = (
    publishing,
    reading,
    answering,
    ordering,
    versions,
    transactions,
    resting,
)
