"""Alerts reach each target at most once: over a real broker, with a kill in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from schemas.events import AlertState, Delivery
from schemas.topics import ALERT_STATES, ALERTS, DELIVERIES
from streams import cluster as clients
from streams import reading
from streams.message import Message
from streams.settings import Settings
from tests.support.command import COMMAND, environment
from tests.support.hook import hook
from tests.support.smtp_sink import mail_server
from tests.web.conftest import Site
from tests.web.test_api import until as eventually
from tests.web.test_notify_targets import alert, mail_to, to
from web.live import decode_record
from web.notify import service
from web.notify.service import Notifier
from web.notify.settings import Notify
from web.notify.targets import targets

pytestmark = pytest.mark.timeout(120)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (another process makes it true)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def notifying(settings: Settings, notify: Notify) -> AsyncIterator[None]:
    task = asyncio.create_task(Notifier(settings, targets(notify)).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def raise_alert(settings: Settings, number: int, ticker: str) -> None:
    await say(settings, Message.of(ALERTS, b"k", alert(number=number, ticker=ticker), "test"))


async def decide(settings: Settings, ticker: str, state: str) -> None:
    change = AlertState(
        id=f"ticker:{ticker}",
        ticker=ticker,
        state=state,  # type: ignore[arg-type]
        by="ada",
        changed_at=datetime.now(UTC),
    )
    await say(settings, Message.of(ALERT_STATES, change.id.encode(), change, "test"))


async def say(settings: Settings, message: Message) -> None:
    producer = clients.producer(settings)
    await producer.start()
    try:
        await (await message.send(producer))
    finally:
        await producer.stop()


async def history(settings: Settings, number: int) -> list[tuple[str, str, int]]:
    """Target, state and attempt of each record about an alert, in order."""
    found: list[tuple[str, str, int]] = []
    async for record in reading.read(settings, [DELIVERIES.name]):
        one = decode_record(Delivery, record)
        if one is not None and one.alert_id == f"alert-{number}":
            found.append((one.target, one.state, one.attempt))
    return found


async def ends(settings: Settings, number: int, count: int = 1) -> list[tuple[str, str, int]]:
    """The history once `count` deliveries have ended."""
    over = {"sent", "failed", "unknown", "silenced"}
    async with asyncio.timeout(60):
        while True:
            found = await history(settings, number)
            if sum(state in over for _, state, _ in found) >= count:
                return found
            await asyncio.sleep(0.1)


async def test_an_alert_reaches_every_target_once_also_over_a_restart(cluster: Settings) -> None:
    async with hook() as kept, mail_server() as sink:
        notify = mail_to(sink.port).model_copy(
            update=to(webhook_url=kept.url, slack_url=kept.url).model_dump(
                include={"webhook_url", "slack_url"}
            )
        )
        async with notifying(cluster, notify):
            await raise_alert(cluster, 1, "ONCE")
            await ends(cluster, 1, 3)
        async with notifying(cluster, notify):
            await raise_alert(cluster, 1, "ONCE")  # it lies on the topic once more
            await raise_alert(cluster, 2, "ONCE")
            found = await ends(cluster, 2, 3)
        assert {one for one in found if one[1] == "sent"} == {
            ("webhook", "sent", 1),
            ("slack", "sent", 1),
            ("mail", "sent", 1),
        }
        assert (len(kept.bodies), len(sink.mails)) == (4, 2)


async def test_who_says_not_now_is_asked_again_and_one_who_never_can_is_given_up(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DELAYS_S", (0.05, 0.05))
    async with hook() as kept:
        kept.answers = [503, 429, 200, 503, 503, 503]
        async with notifying(cluster, to(webhook_url=kept.url)):
            await raise_alert(cluster, 11, "LATER")
            first = await ends(cluster, 11)
            await raise_alert(cluster, 12, "NEVER")
            second = await ends(cluster, 12)
        assert first[-1] == ("webhook", "sent", 3)
        assert second[-1] == ("webhook", "failed", 3)
        assert len(kept.bodies) == 6
        claims = [attempt for _, state, attempt in first if state == "claimed"]
        assert claims == [1, 2, 3], "each attempt was written down before it was made"


async def test_nobody_is_told_about_what_was_muted(cluster: Settings) -> None:
    async with hook() as kept:
        await decide(cluster, "MUTED", "muted")
        async with notifying(cluster, to(webhook_url=kept.url)):
            await raise_alert(cluster, 21, "MUTED")
            found = await ends(cluster, 21)
            await decide(cluster, "MUTED", "open")
            await raise_alert(cluster, 22, "HEARD")
            await ends(cluster, 22)
        assert found[-1] == ("webhook", "silenced", 0)
        assert len(kept.bodies) == 1


async def test_a_second_owner_fences_the_first(cluster: Settings) -> None:
    async with hook() as kept:
        first = Notifier(cluster, targets(to(webhook_url=kept.url)))
        task = asyncio.create_task(first.run())
        await raise_alert(cluster, 31, "FENCE")
        await ends(cluster, 31)
        async with notifying(cluster, to(webhook_url=kept.url)):
            await raise_alert(cluster, 32, "FENCE")
            await ends(cluster, 32)
            await asyncio.wait([task], timeout=30)
        assert task.done(), "the first one was fenced and has ended"
        assert task.exception() is not None
        assert len(kept.bodies) == 2


async def test_killed_while_it_sends_it_never_sends_again(cluster: Settings) -> None:
    async with hook() as kept:
        kept.holding = asyncio.Event()
        given_ = environment() | {
            "HEADRACE_BOOTSTRAP": cluster.bootstrap,
            "HEADRACE_DATA": str(cluster.data),
            "HEADRACE_NOTIFY_WEBHOOK_URL": kept.url,
        }
        command = [*COMMAND, "serve", "notify"]
        first = subprocess.Popen(command, env=given_)  # noqa: ASYNC220, S603
        await raise_alert(cluster, 41, "KILLED")
        try:
            await until(lambda: len(kept.bodies) == 1)
        finally:
            first.kill()
            first.wait()
        kept.holding.set()
        second = subprocess.Popen(command, env=given_)  # noqa: ASYNC220, S603
        try:
            found = await ends(cluster, 41)
            await raise_alert(cluster, 42, "NEXT")
            await ends(cluster, 42)
        finally:
            second.terminate()
            second.wait(30)
        assert second.returncode == 0
        assert found == [
            ("webhook", "due", 0),
            ("webhook", "claimed", 1),
            ("webhook", "unknown", 1),
        ]
        assert len(kept.bodies) == 2, "the one of the kill, and the next alert's"


async def test_the_console_shows_who_was_told(site: Site) -> None:
    client = site.client("viewer")
    newest = (await asyncio.to_thread(client.get, "/v1/alerts")).json()[0]
    alert_id, ticker = newest["id"], newest["ticker"]
    now = datetime.now(UTC)
    said = Delivery(
        id="delivery:1",
        alert_id=alert_id,
        ticker="T",
        target="webhook",
        partition=0,
        offset=0,
        state="sent",
        attempt=1,
        detail="HTTP 200",
        due_at=now,
        at=now,
    )
    await say(site.settings, Message.of(DELIVERIES, b"delivery:1", said, "test"))
    for key in (alert_id, f"ticker:{ticker}"):  # the page shows open ones
        opened = AlertState(id=key, ticker=ticker, state="open", by="test", changed_at=now)
        await say(site.settings, Message.of(ALERT_STATES, key.encode(), opened, "test"))

    def told() -> bool:
        shown = client.get("/v1/alerts").json()
        found = next(one["deliveries"] for one in shown if one["id"] == alert_id)
        return [(one["target"], one["state"]) for one in found] == [("webhook", "sent")]

    await asyncio.to_thread(eventually, told, "the delivery is shown")

    def seen() -> bool:
        return "Told: webhook sent (HTTP 200)" in client.get("/alerts").text

    await asyncio.to_thread(eventually, seen, "the page says so too")
