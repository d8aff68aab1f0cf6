"""The checker names what is wrong, and nothing where nothing is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.main import run as command
from proof.chaos import history
from proof.chaos.checker import History, check
from proof.chaos.history import Announced, Behind, Ends, Entry, Seen, Sent, Source, Stage

IN, OUT, LETTERS = "in", "out", "letters"


@dataclass
class World:
    """A history under construction; lists are shuffled or cut by whoever breaks it."""

    sent: list[Sent] = field(default_factory=list)
    inputs: list[Seen] = field(default_factory=list)
    answers: list[Seen] = field(default_factory=list)
    live: list[Seen] = field(default_factory=list)
    raw: list[Seen] = field(default_factory=list)
    announced: list[Announced] = field(default_factory=list)
    ends: list[Ends] = field(default_factory=list)
    behind: list[Behind] = field(default_factory=list)

    def entries(self) -> list[Entry]:
        return [
            Stage("work", IN), *self.sent, *self.inputs, *self.answers, *self.live, *self.raw,
            *self.announced, *self.ends, *self.behind,
        ]  # fmt: skip

    def kinds(self) -> set[str]:
        return {found.kind for found in check(History.of(self.entries()))}


def correct(seed: int, size: int = 30) -> World:
    """A run in which all is well: several partitions, keys, tasks' versions, gaps, dead letters."""
    chance = random.Random(seed)
    world = World(announced=[Announced("t", v) for v in ("v1", "v2", "v1", "v3")])
    offsets = {(topic, p): count(chance.randrange(3), chance.choice([1, 2])) for topic in
               (IN, OUT, LETTERS) for p in range(3)}  # fmt: skip
    for number in range(size):
        add(world, chance, offsets, number, size)
    for (topic, partition), numbers in offsets.items():
        end = next(numbers)
        world.ends.append(Ends(topic, partition, end, end))
    return world


def add(world: World, chance: random.Random, offsets: dict[tuple[str, int], count[int]],
        number: int, size: int) -> None:  # fmt: skip
    partition = chance.randrange(3)
    key = f"k{partition}{chance.randrange(2)}"
    offset = next(offsets[IN, partition])
    name = f"e{number}"
    if chance.random() < 0.1:
        world.sent.append(Sent(IN, name, key, "aborted", number))
        world.raw.append(seen("raw", IN, partition, offset, name, key, isolation="uncommitted"))
        return
    sure = chance.random() < 0.9
    world.sent.append(Sent(IN, name, key, "acknowledged", number, partition, offset) if sure
                      else Sent(IN, name, key, "unknown", number))  # fmt: skip
    owed = chance.choice([0, 1, 1, 1, 2])
    world.inputs.append(seen("end", IN, partition, offset, name, key, owed=owed))
    if owed and chance.random() < 0.1:
        answer(
            world,
            chance,
            offsets,
            topic=LETTERS,
            source=Source(IN, partition, offset, None),
            key=key,
            step=0,
        )
        return
    for index in range(owed):
        topic = LETTERS if chance.random() < 0.1 else OUT
        step = number * 4 // size
        source = Source(IN, partition, offset, index)
        answer(world, chance, offsets, topic=topic, source=source, key=key, step=step)


def answer(world: World, chance: random.Random, offsets: dict[tuple[str, int], count[int]],
           *, topic: str, source: Source, key: str, step: int) -> None:  # fmt: skip
    partition = source.partition
    dead = topic == LETTERS
    made = seen(
        "end", topic, partition, next(offsets[topic, partition]),
        f"a:{source.partition}:{source.offset}:{source.index}", key,
        stage="work", verdict="dead-letter" if dead else "result", source=source,
        task="" if dead else "t", version="" if dead else world.announced[step].version,
    )  # fmt: skip
    world.answers.append(made)
    if chance.random() < 0.5:
        world.live.append(msgspec.structs.replace(made, reader="along", final=False))


def seen(reader: str, topic: str, partition: int, offset: int, name: str, key: str,  # noqa: PLR0917
         isolation: history.Isolation = "committed", **more: object) -> Seen:  # fmt: skip
    return Seen(reader=reader, isolation=isolation, final=True, topic=topic, partition=partition,
                offset=offset, id=name, key=key, at=0, **more)  # type: ignore[arg-type]  # fmt: skip


replace = msgspec.structs.replace
FREE = 10_000  # an offset that nothing stands at


def results(world: World) -> list[Seen]:
    return [one for one in world.answers if one.verdict == "result"]


def lose_an_answer(world: World, chance: random.Random) -> None:
    gone = chance.choice(world.answers)
    world.answers.remove(gone)
    world.live = [one for one in world.live if one.place != gone.place]


def lose_an_input(world: World, chance: random.Random) -> None:
    owing = chance.choice([one for one in world.inputs if sure(world, one)])
    world.inputs.remove(owing)
    world.answers = [one for one in world.answers if one.source and at(one.source) != at(owing)]
    world.live = [one for one in world.live if one.source and at(one.source) != at(owing)]


def sure(world: World, one: Seen) -> bool:
    return any(sent.id == one.id and sent.outcome == "acknowledged" for sent in world.sent)


def at(one: Seen | Source) -> tuple[int, int]:
    return one.partition, one.offset


def lose_what_a_reader_saw(world: World, chance: random.Random) -> None:
    world.live.append(replace(chance.choice(world.answers), offset=FREE, final=False))


def double_an_answer(world: World, chance: random.Random) -> None:
    world.answers.append(
        replace(chance.choice(world.answers), offset=FREE, id="another id", version="")
    )


def double_an_input(world: World, chance: random.Random) -> None:
    world.inputs.append(replace(chance.choice(world.inputs), offset=FREE, owed=0))


def refuse_what_was_answered(world: World, chance: random.Random) -> None:
    of = chance.choice(results(world))
    world.answers.append(
        replace(of, topic=LETTERS, offset=FREE, verdict="dead-letter", version="", task="")
    )


def refuse_the_whole_of_what_was_answered(world: World, chance: random.Random) -> None:
    refused = {at(one.source) for one in world.answers if one.source and one not in results(world)}
    answered = [one for one in results(world) if one.source and at(one.source) not in refused]
    of = chance.choice(answered)
    assert of.source
    world.answers.append(
        replace(of, topic=LETTERS, offset=FREE, verdict="dead-letter", version="", task="",
                source=replace(of.source, index=None))
    )  # fmt: skip


def read_what_was_aborted(world: World, chance: random.Random) -> None:
    of = replace(chance.choice(results(world)), offset=FREE, id="aborted")
    world.live.append(replace(of, final=False, reader="along"))
    world.raw.append(replace(of, isolation="uncommitted", reader="raw"))


def answer_what_was_aborted(world: World, chance: random.Random) -> None:
    world.raw.append(seen("raw", IN, 0, FREE, "never", "k00", isolation="uncommitted"))
    world.answers.append(
        replace(
            chance.choice(results(world)),
            offset=FREE,
            id="x",
            version="",
            source=Source(IN, 0, FREE, 0),
        )
    )


def commit_what_was_aborted(world: World, chance: random.Random) -> None:
    world.sent.append(Sent(IN, "never", "k", "aborted", 0))
    world.inputs.append(replace(chance.choice(world.inputs), id="never", offset=FREE, owed=0))


def swap_two_answers(world: World, chance: random.Random) -> None:
    pairs = [
        (one, other)
        for one in results(world)
        for other in results(world)
        if one.key == other.key and one.offset < other.offset and one.partition == other.partition
    ]
    one, other = chance.choice(pairs)
    world.live.clear()
    world.answers.remove(one)
    world.answers.remove(other)
    world.answers += [
        replace(one, source=other.source, id=other.id),
        replace(other, source=one.source, id=one.id),
    ]


def rewrite_history(world: World, chance: random.Random) -> None:
    of = chance.choice(world.answers)
    world.live.append(replace(of, final=False, id="something else"))


def read_two_things_at_one_place(world: World, chance: random.Random) -> None:
    of = chance.choice(world.answers)
    world.raw.append(replace(of, isolation="uncommitted", id="something else"))


def answer_nothing(world: World, chance: random.Random) -> None:
    world.answers.append(
        replace(chance.choice(results(world)), offset=FREE, version="", source=Source(IN, 7, 7, 0))
    )


def answer_too_often(world: World, chance: random.Random) -> None:
    of = chance.choice(results(world))
    assert of.source
    surplus = replace(of.source, index=9)
    world.answers.append(replace(of, offset=FREE, key="of its own", version="", source=surplus))


def forget_what_is_answered(world: World, chance: random.Random) -> None:
    world.answers.append(
        replace(chance.choice(results(world)), offset=FREE, version="", source=None)
    )


def refuse_what_is_good(world: World, chance: random.Random) -> None:
    answered = chance.choice(world.answers)
    assert answered.source
    (owing,) = [one for one in world.inputs if at(one) == at(answered.source)]
    world.inputs.remove(owing)
    wrong: history.Verdict = "result" if answered.verdict == "dead-letter" else "dead-letter"
    world.inputs.append(replace(owing, wanted=wrong))


def flip_back(world: World, chance: random.Random) -> None:
    partition = chance.choice(sorted({one.partition for one in results(world)}))
    world.inputs.append(seen("end", IN, partition, FREE, "late", "late", owed=2))
    last = chance.choice(results(world))
    world.answers += [
        replace(last, partition=partition, offset=FREE + index, id=version, key="late",
                version=version, source=Source(IN, partition, FREE, index))
        for index, version in enumerate(("v3", "v2"))
    ]  # fmt: skip


def fall_behind(world: World, _chance: random.Random) -> None:
    world.inputs.append(seen("end", IN, 1, FREE, "unread", "k"))
    world.behind.append(Behind("group", IN, 1, FREE, 1))


def leave_a_transaction_open(world: World, chance: random.Random) -> None:
    end = chance.choice(world.ends)
    world.ends.remove(end)
    world.ends.append(replace(end, committed=end.committed - 1))


MUTATIONS: dict[Callable[[World, random.Random], None], str] = {
    lose_an_answer: "lost",
    lose_an_input: "lost",
    lose_what_a_reader_saw: "lost",
    double_an_answer: "duplicate",
    double_an_input: "duplicate",
    refuse_what_was_answered: "both",
    refuse_the_whole_of_what_was_answered: "both",
    read_what_was_aborted: "aborted-read",
    answer_what_was_aborted: "aborted-read",
    commit_what_was_aborted: "aborted-read",
    swap_two_answers: "out-of-order",
    rewrite_history: "divergent",
    read_two_things_at_one_place: "divergent",
    answer_nothing: "phantom",
    answer_too_often: "phantom",
    forget_what_is_answered: "phantom",
    refuse_what_is_good: "wrong-verdict",
    flip_back: "version-flip-back",
    fall_behind: "stalled",
    leave_a_transaction_open: "hanging-transaction",
}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_correct_history_yields_nothing(seed: int) -> None:
    assert check(History.of(correct(seed).entries())) == []


@pytest.mark.parametrize("break_it", MUTATIONS, ids=lambda one: one.__name__)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, suppress_health_check=[HealthCheck.differing_executors])
def test_one_thing_wrong_is_named_and_nothing_else(
    break_it: Callable[[World, random.Random], None], seed: int
) -> None:
    world = correct(seed)
    break_it(world, random.Random(seed))
    assert world.kinds() == {MUTATIONS[break_it]}


def test_one_lost_and_one_doubled_are_two_anomalies_although_the_counts_agree() -> None:
    world = correct(1)
    lose_an_answer(world, random.Random(1))
    double_an_answer(world, random.Random(2))
    assert len(results(world)) == len(results(correct(1)))
    assert world.kinds() == {"lost", "duplicate"}


def test_a_rollback_that_was_announced_is_no_flip_back() -> None:
    world = World(announced=[Announced("t", one) for one in ("v1", "v2", "v1")])
    for offset, version in enumerate(("v1", "v2", "v1")):
        source = Source(IN, 0, offset, 0)
        world.inputs.append(seen("end", IN, 0, offset, f"e{offset}", "k"))
        world.answers.append(
            seen("end", OUT, 0, offset, f"a{offset}", "k", stage="work", verdict="result",
                 source=source, task="t", version=version)
        )  # fmt: skip
    assert world.kinds() == set()
    world.announced.pop()
    assert world.kinds() == {"version-flip-back"}


def test_the_evidence_names_the_witnesses() -> None:
    world = correct(3)
    (of, *_) = results(world)
    world.answers.append(replace(of, offset=FREE, id="twin", version=""))
    (found,) = check(History.of(world.entries()))
    assert of.id in found.evidence
    assert f"twin at {OUT}:{of.partition}:{FREE}" in found.evidence


def test_a_history_is_the_same_after_a_file(tmp_path: Path) -> None:
    entries = correct(5).entries()
    file = tmp_path / "history.jsonl"
    history.write(file, entries)
    assert list(history.read(file)) == entries


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"kind":"stage","name":"work","source":"in"}\n{"kind":"nonsense"}\n')
    with pytest.raises(history.HistoryError, match="line 2"):
        list(history.read(file))


def test_the_command_checks_a_history_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = correct(1)
    file = tmp_path / "history.jsonl"
    history.write(file, world.entries())
    assert command(["check", str(file), "--json"]) == 0
    lose_an_answer(world, random.Random(1))
    history.write(file, world.entries())
    assert command(["check", str(file), "--json"]) == 1
    assert '"anomalies":{"lost":1}' in capsys.readouterr().out
