"""What a version on trial says differently is shown while it is on trial, and counted once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from kernel.registry import Registry
from schemas.events import Event, KernelResult, ModelState, ModelVersion, ShadowScore
from schemas.ids import model_key
from schemas.topics import MODELS, RESULTS, SHADOW, Topic
from streams import cluster as clients
from streams.message import Message
from streams.reading import Record
from tests.web.conftest import Site
from tests.web.test_api import until
from web.tables import Seen
from web.trials import Trials

NOW = datetime.now(UTC)


def version(state: ModelState, share: float = 0.0) -> ModelVersion:
    return ModelVersion(
        id=model_key("sentiment", "new"),
        task="sentiment",
        version="new",
        state=state,
        labels=["negative", "positive"],
        artefact="",
        digest="",
        changed_at=NOW,
        share=share,
    )


def seen(event: Event, at: datetime = NOW + timedelta(seconds=1)) -> Seen:
    topic = SHADOW.name if isinstance(event, ShadowScore) else RESULTS.name
    return Seen(Record(topic, 0, 0, int(at.timestamp() * 1000), b"T", b"", ()), event)


def score(number: int, live: str, new: str, *, answered_by: str = "old", error: str = "") -> Seen:
    aside = answered_by == "old"
    return seen(
        ShadowScore(
            id=f"shadow:{number}",
            request_id=str(number),
            task="sentiment",
            thread="DRFT",
            excerpt=f"text {number}",
            answered_by=answered_by,
            label=live if aside else new,
            shadowed_by="new" if aside else "old",
            shadow_label=new if aside else live,
            error=error,
            scored_at=NOW,
        )
    )


async def publish(site: Site, *said: tuple[Topic, Event]) -> None:
    producer = clients.producer(site.settings)
    await producer.start()
    try:
        for topic, event in said:
            await (await Message.of(topic, event.id.encode(), event, "test").send(producer))
    finally:
        await producer.stop()


async def test_the_models_page_shows_a_trial_as_it_runs(site: Site) -> None:
    of_spam = replace(version("shadow"), task="spam", id=model_key("spam", "new"))
    of_spam = replace(of_spam, changed_at=datetime.now(UTC))
    differs = replace(score(1, "positive", "negative").event, task="spam", excerpt="a <b>text")
    await publish(site, (MODELS, of_spam), (SHADOW, differs))
    client = site.client("viewer")

    def compared() -> bool:
        found = client.get("/v1/models/trials").json()
        return [(one["task"], one["compared"]) for one in found] == [("spam", 1)]

    await asyncio.to_thread(until, compared, "the trial and its answer are there")
    page = (await asyncio.to_thread(client.get, "/models")).text
    assert "On trial: spam new, shadow" in page
    assert "DRFT: a <b>text" not in page, "text of a feed is never HTML"
    await publish(site, (MODELS, replace(of_spam, state="refused")))
    await asyncio.to_thread(
        until, lambda: client.get("/v1/models/trials").json() == [], "the trial is over"
    )


def registry_of(one: ModelVersion) -> Registry:
    known = Registry()
    known.apply(one.id, one)
    return known


def test_differences_are_counted_and_shown_newest_first_from_both_sides() -> None:
    trials, known = Trials(), registry_of(version("canary", 0.25))
    answers = [
        score(1, "positive", "positive"),
        score(2, "positive", "negative"),
        score(3, "negative", "positive", answered_by="new"),
        score(4, "positive", "", error="NaN"),
        score(3, "negative", "positive", answered_by="new"),  # a replay of the topic
    ]
    trials.take(known, answers)
    (row,) = (one.row() for one in trials.found.values())
    assert (row["share"], row["compared"], row["errors"]) == (0.25, 3, 1)
    assert row["agreement"] == round(1 / 3, 4)
    assert row["labels"] == {"positive": 2, "negative": 1}
    assert [one["excerpt"] for one in row["differences"]] == ["text 4", "text 3", "text 2"]
    newest = row["differences"][1]
    assert (newest["live_label"], newest["label"]) == ("negative", "positive")


def test_a_new_stage_begins_anew_and_a_trial_that_is_over_is_gone() -> None:
    trials = Trials()
    trials.take(registry_of(version("shadow")), [score(1, "positive", "negative")])
    trials.take(registry_of(version("canary", 0.05)), [])
    (row,) = (one.row() for one in trials.found.values())
    assert (row["state"], row["compared"], row["differences"]) == ("canary", 0, [])
    trials.take(registry_of(version("live")), [score(2, "positive", "negative")])
    assert trials.found == {}


def test_what_was_said_before_the_stage_began_is_no_evidence() -> None:
    trials = Trials()
    old = KernelResult(
        id="r",
        request_id="q",
        task="sentiment",
        thread="T",
        label="positive",
        scores={},
        model_version="old",
        precision="fp32",
        excerpt="",
    )
    early = seen(old, NOW - timedelta(minutes=5))
    trials.take(registry_of(version("shadow")), [early, seen(old)])
    (row,) = (one.row() for one in trials.found.values())
    assert row["answered"] == 1
