"""The service `console`: one web server for pages and API, over one reader of the topics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from streams.exposition import exposed
from streams.running import run_service
from streams.settings import Settings
from web import api, login, metrics, pages
from web.address import address, announce, listen
from web.console import Console
from web.gate import Gate
from web.metrics import SERVICE

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 2
"""How long open pages may hold the server back when it ends."""


def application(console: Console, *, with_pages: bool = True) -> FastAPI:
    """The web application. Pages can be made once in a process: the toolkit is global."""
    app = FastAPI(
        title="Headrace",
        summary="Verdicts on live text, and what to do about them.",
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # their scripts would come from another host
        redoc_url=None,
    )
    api.install(app, console)
    app.include_router(login.router(console.access))
    app.include_router(metrics.router(console))
    if with_pages:
        pages.register(console)
        ui.run_with(
            app,
            title="Headrace",
            favicon=_ICON,
            language="en-GB",
            reconnect_timeout=30.0,
            binding_refresh_interval=None,
            tailwind=True,
            show_welcome_message=False,
        )
    app.add_middleware(Gate, access=console.access, host=console.settings.console_host)
    return app


async def serve(settings: Settings) -> None:
    """Serve until cancelled.

    Raises:
        AccessError: others could reach it and nobody has a password.
        ListenError: the port is taken.
    """
    console = Console.of(settings)
    listener = listen(settings)
    server = _Server(
        uvicorn.Config(
            application(console),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_PATIENCE_S,
            ws_max_size=1_048_576,
            server_header=False,
        )
    )
    announce(settings)
    log.info("listening on %s", address(settings))
    with exposed(settings, SERVICE, lambda: metrics.gauge_samples(console.gauges)):
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(console.run())
            try:
                await server.serve(sockets=[listener])
            finally:
                work.cancel()


class _Server(uvicorn.Server):
    """A server that leaves signals to `streams.running`, and ends when it is cancelled."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        serving = asyncio.ensure_future(super().serve(sockets))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.should_exit = True
            await serving
            raise


_ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="13" '
    'fill="none" stroke="#0b62a8" stroke-width="3"/><g stroke="#0b62a8" stroke-width="2.5">'
    '<path d="M3 16h26M16 3v26M7 7l18 18M25 7L7 25"/></g></svg>'
)


def run(settings: Settings) -> None:
    """Run the web console until SIGTERM."""
    run_service(lambda: serve(settings))
