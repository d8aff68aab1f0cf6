"""An HTTP server that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Hook:
    """What it was sent; `answers` are the statuses to come, then 200."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    holding: asyncio.Event | None = None
    """While it is there and not set, no answer is given."""

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path)
        if self.holding is not None:
            await self.holding.wait()
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"location": "/elsewhere"})


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    """A hook on a free port of the loopback address."""
    kept = Hook()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", kept.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield kept
    finally:
        if kept.holding is not None:
            kept.holding.set()
        await runner.cleanup()
