"""What is said about an alert. Its texts come from feeds: hidden characters are made visible."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from schemas.events import Alert
from web.text import shown

_HEADLINES: Final = 5
_TICKER: Final = 64
_TEXT: Final = 280
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def title(alert: Alert) -> str:
    """One line."""
    return f"{shown(alert.ticker, _TICKER)}: {alert.count} negative in {_span(alert.window_s)}"


def lines(alert: Alert, console_url: str) -> list[str]:
    """Figures, the newest headlines, and where to look, a line each."""
    figures = (
        f"mean {alert.mean:+.2f}, before {alert.baseline_mean:+.2f} over "
        f"{alert.baseline_count}; raised {alert.raised_at:%Y-%m-%d %H:%M} UTC"
    )
    newest = alert.headlines[-_HEADLINES:]
    found = [figures, *(f"{one.score:+.2f} {shown(one.text, _TEXT)}" for one in newest)]
    if console_url:
        found.append(
            f"{console_url.rstrip('/')}/ticker?name={quote(alert.ticker[:_TICKER], safe='')}"
        )
    return found


def mrkdwn(text: str) -> str:
    """`text` as Slack shows it literally: unescaped it could mention a channel or hide a link.

    Source: Slack, "Formatting text for app surfaces", on its three entities.
    """
    return text.translate(_ENTITIES)


def _span(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
