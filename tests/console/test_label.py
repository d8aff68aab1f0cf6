"""A person labels in the terminal: the least certain first, one key each, and can take it back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from schemas.events import Cause, FeedEvent, KernelResult, LabelledExample
from schemas.ids import label_id
from schemas.topics import FEED_EVENTS, LABELS, RESULTS
from streams.message import Message
from streams.publishing import publisher
from streams.settings import Settings
from tests.support.command import Console

LONG = "Kelmont reports " + "a very long list of figures " * 20


@pytest.fixture(scope="module")
def console(cluster: Settings) -> Console:
    asyncio.run(fill(cluster))
    return Console(cluster)


async def fill(settings: Settings) -> None:
    """Results of which the model was more or less sure, one of them cut and one labelled."""
    async with publisher(settings) as sender:
        long = FeedEvent(id="long", text=LONG, published_at=datetime.now(UTC))
        producer = sender._producer
        at = await (await Message.of(FEED_EVENTS, b"k", long, "test").send(producer))
        cause = ("finance.reader", FEED_EVENTS.name, int(at.partition), int(at.offset), 0)
        sure = {"surest": 0.9, "halfway": 0.6, "least": 0.4, "labelled": 0.35}
        for text, score in sure.items():
            await sender.send(_result(text, score))
        await sender.send(_result(LONG[:280], 0.5, cause))
        await sender.send(_result("somebody's own", 0.34, thread="aside:1"))
        await sender.send(_label("labelled", "neutral", "labelled-1"))


def _result(text: str, score: float, cause: object = None, thread: str = "K") -> Message:
    rest = (1 - score) / 2
    result = KernelResult(
        id=f"result:{text[:20]}",
        request_id=text[:20],
        task="sentiment",
        thread=thread,
        label="negative",
        scores={"negative": score, "neutral": rest, "positive": rest},
        model_version="v1",
        precision="fp32",
        excerpt=text,
        target="Kelmont",
        cause=None if cause is None else msgspec.convert(cause, Cause),
    )
    return Message.of(RESULTS, thread.encode(), result, "test")


def _label(text: str, label: str, name: str, labeller: str = "ann") -> Message:
    example = LabelledExample(
        id=name, task="sentiment", text=text, target="Kelmont", label=label, labeller=labeller
    )
    return Message.of(LABELS, name.encode(), example, "test")


def questions(console: Console) -> list[str]:
    shown = console("label", "--json")
    assert shown.code == 0, shown.err
    return [one["text"] for one in shown.lines()]


def test_the_least_certain_come_first_whole_and_without_what_is_labelled(console: Console) -> None:
    assert questions(console) == ["least", LONG, "halfway", "surest"]


def test_one_key_labels_and_what_was_labelled_is_not_asked_again(console: Console) -> None:
    # 3 positive; undo; 2 neutral; skip the long one; an unknown key; 1 negative; quit.
    asked = console("label", "--labeller", "bob", stdin=b"3u2s!1q")
    assert asked.code == 0, asked.err
    assert "1/4 [about Kelmont]  least" in asked.out
    assert "the model: negative (40%)" in asked.out
    assert "2 labels published" in asked.out
    assert questions(console) == [LONG, "surest"]

    read = console("read", "labels.examples", "--from", "earliest", "--until-end", "--jsonl")
    held = {line["key"]: line["value"] for line in read.lines()}
    first = held[label_id("sentiment", "Kelmont", "least")]
    assert (first["label"], first["labeller"], first["target"]) == ("neutral", "bob", "Kelmont")
    assert held[label_id("sentiment", "Kelmont", "halfway")]["label"] == "negative"


def test_a_label_can_be_withdrawn_once(console: Console) -> None:
    name = label_id("sentiment", "Kelmont", "halfway")
    assert console("label", "--withdraw", name).code == 0
    assert "halfway" in questions(console)
    again = console("label", "--withdraw", name)
    assert again.code == 6
    assert "no label" in again.err


def test_contradictions_are_shown_with_the_label_that_holds(
    console: Console, cluster: Settings
) -> None:
    async def contradict() -> None:
        async with publisher(cluster) as sender:
            for name, label, who in (
                ("c-1", "positive", "ann"),
                ("c-2", "negative", "bob"),
                ("c-3", "negative", "cyd"),
            ):
                await sender.send(_label("contested", label, name, who))

    asyncio.run(contradict())
    shown = console("label", "--conflicts", "--json")
    assert shown.code == 0, shown.err
    (conflict,) = shown.lines()
    assert conflict["text"] == "contested"
    assert conflict["holds"] == "negative"
    assert sorted(who for _, _, who in conflict["said"]) == ["ann", "bob", "cyd"]
