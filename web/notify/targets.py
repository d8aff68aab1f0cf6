"""How each target is told, and what its answer means for another attempt.

An attempt may be repeated only where the target surely has nothing: no connection was made, or
it said "not now" (HTTP 429 and 503, SMTP 4yz). After silence, or another server error, it may
have the message, and at most once forbids to send it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import smtplib
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final, Literal

import aiohttp

from schemas.envelope import to_json
from schemas.events import Alert
from web.notify.settings import Notify
from web.notify.wording import lines, mrkdwn, title

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "headrace-signature"
DELIVERY: Final = "headrace-delivery"
_AGAIN: Final = {429, 503}

Verdict = Literal["sent", "again", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    verdict: Verdict
    """`again`: the target surely has nothing and may be asked once more."""
    detail: str


Tell = Callable[[str, Alert], Awaitable[Outcome]]
"""Makes one attempt: takes the delivery's id and the alert; never raises for the target's sake."""


def targets(notify: Notify) -> dict[str, Tell]:
    """Every target that is configured, by name."""
    found: dict[str, Tell] = {}
    if notify.webhook_url.get_secret_value():
        found["webhook"] = lambda delivery, alert: _webhook(notify, delivery, alert)
    if notify.slack_url.get_secret_value():
        found["slack"] = lambda delivery, alert: _slack(notify, delivery, alert)
    if notify.smtp_host:
        found["mail"] = lambda delivery, alert: asyncio.to_thread(_mail, notify, delivery, alert)
    return found


def signature(secret: str, at: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA-256 of `SECONDS.BODY`; an old body is told by its seconds."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


async def _webhook(notify: Notify, delivery: str, alert: Alert) -> Outcome:
    body = to_json({"delivery": delivery, "title": title(alert), "alert": alert})
    headers = {DELIVERY: delivery}
    if secret := notify.webhook_secret.get_secret_value():
        headers[SIGNATURE] = signature(secret, int(time.time()), body)
    return await _post(notify.webhook_url.get_secret_value(), body, headers)


async def _slack(notify: Notify, delivery: str, alert: Alert) -> Outcome:
    text = "\n".join([title(alert), *lines(alert, notify.console_url)])
    # Without `mrkdwn` no asterisk of a headline formats; `link_names` keeps @names plain.
    said = {"text": mrkdwn(text), "mrkdwn": False, "link_names": 0, "unfurl_links": False}
    return await _post(notify.slack_url.get_secret_value(), to_json(said), {DELIVERY: delivery})


async def _post(url: str, body: bytes, headers: dict[str, str]) -> Outcome:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=TIMEOUT_S / 2)
    headers = {"content-type": "application/json", "user-agent": "headrace"} | headers
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return _meaning(answer.status)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        return Outcome("again", f"no connection: {_kind(error)}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # The address is a secret and stands in many messages: the kind of error must do.
        return Outcome("unknown", f"no answer: {_kind(error)}")


def _meaning(status: int) -> Outcome:
    said = f"HTTP {status}"
    if 200 <= status < 300:
        return Outcome("sent", said)
    if status in _AGAIN:
        return Outcome("again", said)
    if 300 <= status < 400:
        return Outcome("failed", f"{said}: redirects are not followed; give the final address")
    return Outcome("unknown" if status >= 500 else "failed", said)


def letter(notify: Notify, delivery: str, alert: Alert) -> EmailMessage:
    """The mail about an alert: plain text; the library refuses a header with a line break."""
    message = EmailMessage(policy=SMTP)
    message["From"] = notify.mail_from
    message["To"] = ", ".join(notify.recipients)
    message["Subject"] = f"Headrace: {title(alert)}"
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{delivery.replace(':', '.')}@{notify.mail_from.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines(alert, notify.console_url)))
    return message


def _mail(notify: Notify, delivery: str, alert: Alert) -> Outcome:
    message = letter(notify, delivery, alert)
    try:
        server = _connect(notify)
    except smtplib.SMTPResponseException as error:
        return _refusal(error.smtp_code)
    except (smtplib.SMTPException, OSError) as error:
        return Outcome("again", f"no connection: {_kind(error)}")
    try:
        refused = server.send_message(message)
    except smtplib.SMTPResponseException as error:
        return _refusal(error.smtp_code)
    except smtplib.SMTPRecipientsRefused as error:
        return _refusal(max(code for code, _ in error.recipients.values()))
    except (smtplib.SMTPException, OSError) as error:
        return Outcome("unknown", f"no answer: {_kind(error)}")
    else:
        return Outcome("sent", f"{len(refused)} recipients were refused" if refused else "SMTP 250")
    finally:
        with suppress(smtplib.SMTPException, OSError):
            server.quit()


def _connect(notify: Notify) -> smtplib.SMTP:
    """A session in which nothing was said about the message yet."""
    at: dict[str, Any] = {
        "host": notify.smtp_host,
        "port": notify.smtp_port,
        "timeout": TIMEOUT_S,
    }
    trust = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(**at, context=trust)
        if notify.smtp_security == "tls"
        else smtplib.SMTP(**at)
    )
    try:
        if notify.smtp_security == "starttls":
            server.starttls(context=trust)
        if notify.smtp_username:
            server.login(notify.smtp_username, notify.smtp_password.get_secret_value())
    except BaseException:
        server.close()
        raise
    return server


def _refusal(code: int) -> Outcome:
    return Outcome("again" if 400 <= code < 500 else "failed", f"SMTP {code}")


def _kind(error: BaseException) -> str:
    return type(error).__name__
