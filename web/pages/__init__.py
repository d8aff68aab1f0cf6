"""The pages of the web console, one module each; `register` makes them known."""

from __future__ import annotations

from web.console import Console
from web.pages import (
    alerts,
    dead_letters,
    desk,
    live,
    markets,
    models,
    operations,
    style,
    threads,
    ticker,
)


def register(console: Console) -> None:
    """Make every page known to the page toolkit; once a process."""
    style.install()
    for page in (
        live,
        markets,
        ticker,
        alerts,
        threads,
        models,
        desk,
        dead_letters,
        operations,
    ):
        page.register(console)
