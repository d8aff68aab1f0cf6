"""Server-sent events: what comes, to programs that listen.

Nothing is kept for a listener: a slow one misses what the console no longer keeps, one that
reads nothing at all is let go, and there are at most `MOST_LISTENERS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from schemas import envelope
from schemas.envelope import to_json
from web.actions import Refused
from web.live import Live
from web.queries import Row

MOST_LISTENERS: Final = 64
STALLED_S: Final = 30.0
"""How long a listener may take nothing, while there is more than its connection holds."""
_HEARTBEAT_S: Final = 15.0
_LOOK_S: Final = 0.25


class TooManyListeners(Refused):
    """Others listen already."""


class Listeners:
    """Who listens to the stream now."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.count = 0

    def stream(self) -> StreamingResponse:
        """A response that never ends by itself.

        Raises:
            TooManyListeners: there are `MOST_LISTENERS` already.
        """
        if self.count >= MOST_LISTENERS:
            raise TooManyListeners(f"{MOST_LISTENERS} programs listen already; close one")
        return _Stream(self)

    async def events(self) -> AsyncIterator[bytes]:
        """What comes from now on, a chunk for each event."""
        live = self._live
        number = live.number
        clock = asyncio.get_running_loop().time
        said_at = clock()
        yield _event("status", live.status())
        while True:
            fresh: list[tuple[int, str, Any]] = [
                (one.number, "verdict", envelope.to_json(_fields(one)))
                for one in live.verdicts
                if one.number > number
            ]
            fresh += [(at, kind, to_json(body)) for at, kind, body in live.events if at > number]
            for at, kind, body in sorted(fresh, key=lambda one: one[0]):
                number = at
                yield b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"
            if fresh or clock() - said_at > _HEARTBEAT_S:
                said_at = clock()
                yield _event("status", live.status())
            await asyncio.sleep(_LOOK_S)


class _Stream(StreamingResponse):
    """Counts its listener, and lets go of one that takes nothing."""

    def __init__(self, listeners: Listeners) -> None:
        super().__init__(listeners.events(), media_type="text/event-stream")
        self._listeners = listeners

    async def stream_response(self, send: Send) -> None:
        async def in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), STALLED_S)

        self._listeners.count += 1
        try:
            await super().stream_response(in_time)
        except TimeoutError:
            return  # without an end of the body the server closes the connection
        finally:
            self._listeners.count -= 1


def _fields(one: Any) -> Row:
    return {name: getattr(one, name) for name in one.__slots__}


def _event(kind: str, body: Row) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + to_json(body) + b"\n\n"
