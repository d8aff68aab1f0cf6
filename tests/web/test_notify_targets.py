"""How a target is told, and when another attempt is allowed."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from console.stack import specs
from schemas.events import Alert, Cause, Headline
from streams.broker_folder import free_port
from tests.support.hook import hook
from tests.support.smtp_sink import mail_server
from web.notify.settings import Notify, NotifyError, configured
from web.notify.targets import letter, targets
from web.notify.wording import mrkdwn

KEY = "a key"
WILD = "<!channel> <https://evil.example|click> *bold* \r\nBcc: all@evil.example \u202egnp"


def alert(text: str = WILD, ticker: str = "DRFT", number: int = 1) -> Alert:
    return Alert(
        id=f"alert-{number}",
        ticker=ticker,
        raised_at=datetime(2026, 3, 4, tzinfo=UTC),
        window_s=300,
        count=4,
        mean=-0.7,
        baseline_mean=0.1,
        baseline_count=30,
        headlines=[Headline(result_id="r", text=text, score=-0.9, published_at=datetime.now(UTC))],
        cause=Cause("finance.alerts", "kernel.results", 0, number, 0),
    )


def to(**given_: str) -> Notify:
    """Targets as the environment gives them: text."""
    return Notify.model_validate(given_)


def mail_to(port: int) -> Notify:
    return Notify(
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_security="none",
        mail_from="headrace@example.org",
        mail_to="ada@example.org, grace@example.org",
    )


async def test_a_webhook_can_check_who_sent_it_and_that_it_is_no_replay() -> None:
    async with hook() as kept:
        tell = targets(to(webhook_url=kept.url, webhook_secret=KEY))["webhook"]
        assert (await tell("delivery:1", alert())).verdict == "sent"
    body, headers = kept.bodies[0], kept.headers[0]
    stamp, _, given_ = headers["headrace-signature"].partition(",v1=")
    signed = stamp.removeprefix("t=").encode() + b"." + body
    assert hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest() == given_
    assert headers["headrace-delivery"] == "delivery:1"
    assert orjson.loads(body)["alert"]["id"] == "alert-1"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (204, "sent"),
        (302, "failed"),
        (404, "failed"),
        (429, "again"),
        (500, "unknown"),
        (502, "unknown"),
        (503, "again"),
    ],
)
async def test_only_a_target_that_surely_has_nothing_is_asked_again(
    status: int, verdict: str
) -> None:
    async with hook() as kept:
        kept.answers = [status]
        outcome = await targets(to(webhook_url=kept.url))["webhook"]("d", alert())
    assert outcome.verdict == verdict
    assert kept.paths == ["/hook"], "a redirect is not followed"


async def test_a_target_that_is_away_is_asked_again_and_its_address_stays_secret() -> None:
    url = f"http://127.0.0.1:{free_port()}/a-secret-path"
    outcome = await targets(to(slack_url=url))["slack"]("d", alert())
    assert outcome.verdict == "again"
    assert "secret" not in outcome.detail


async def test_a_headline_mentions_nobody_and_links_nowhere_in_slack() -> None:
    async with hook() as kept:
        await targets(to(slack_url=kept.url))["slack"]("d", alert())
    said: dict[str, Any] = orjson.loads(kept.bodies[0])
    assert not set("<>") & set(said["text"])
    assert "&lt;!channel&gt;" in said["text"]
    assert "⟨U+202E⟩" in said["text"]
    assert said["mrkdwn"] is False


@given(st.text())
def test_no_text_keeps_what_slack_reads_as_markup(text: str) -> None:
    escaped = mrkdwn(text)
    assert not set("<>") & set(escaped)
    back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text


@given(st.text(min_size=1), st.text())
def test_no_text_of_a_feed_becomes_a_header_of_a_mail(ticker: str, text: str) -> None:
    made = letter(mail_to(25), "delivery:1", alert(text, ticker)).as_bytes()
    read = message_from_bytes(made, policy=policy.default)
    assert read["bcc"] is None
    assert read["to"] == "ada@example.org, grace@example.org"
    assert read.get_content_type() == "text/plain"


async def test_a_mail_reaches_every_recipient_once() -> None:
    async with mail_server() as sink:
        outcome = await targets(mail_to(sink.port))["mail"]("delivery:1", alert())
    assert outcome.verdict == "sent"
    assert len(sink.mails) == 1
    assert [one.partition(":")[2] for one in sink.recipients] == [
        "<ada@example.org>",
        "<grace@example.org>",
    ]
    assert b"Subject: Headrace: DRFT: 4 negative in 5 min" in sink.mails[0]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("451 later", "again"), ("554 never", "failed"), ("drop", "unknown")],
)
async def test_a_mail_is_repeated_only_where_the_server_said_so(answer: str, verdict: str) -> None:
    async with mail_server() as sink:
        sink.answers = [answer]
        outcome = await targets(mail_to(sink.port))["mail"]("d", alert())
    assert outcome.verdict == verdict


@pytest.mark.parametrize(
    "given_",
    [
        {"webhook_url": "file:///etc/passwd"},
        {"slack_url": "hooks.example.org/x"},
        {"smtp_host": "mail.example.org"},
        {"mail_to": "ada@example.org\r\nBcc: all@example.org"},
        {"smtp_username": "ada", "smtp_security": "none"},
    ],
)
def test_a_target_that_cannot_be_is_refused_at_the_start(given_: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        to(**given_)
    assert "passwd" not in str(refused.value), "the address may be a secret"


def test_a_wrong_variable_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_NOTIFY_SLACK_URL", "ftp://hooks.example.org/secret")
    with pytest.raises(NotifyError, match=r"^HEADRACE_NOTIFY_SLACK_URL: must be") as refused:
        configured()
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("HEADRACE_NOTIFY_SLACK_URL", "")
    assert not configured().any
    assert "notify" not in {one.name for one in specs()}
    assert "notify" in {one.name for one in specs(notify=True)}
