"""Closing a client of the cluster: in time, and without a word about whose cancellation it was.

aiokafka's `stop` awaits tasks that it has cancelled itself, so it may raise `CancelledError`
although nobody has cancelled the caller; and it may swallow the cancellation of a time-out and
go on. The first looks to the caller as its own end, which is no fault and ends no service: a
part of it is gone, and the rest stands there. The second makes `asyncio.wait_for` wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0


class Client(Protocol):
    """A consumer or a producer."""

    async def stop(self) -> None:
        """Deliver what is under way, leave the group, close the connections."""


async def close(*clients: Client, within_s: float = PATIENCE_S) -> None:
    """Stop clients, one after the other, each for so many seconds at most.

    What a client says against it is logged and no more: it is not needed any longer. Whoever
    has to know that records were delivered awaits their deliveries before.
    """
    for client in clients:
        stopping = asyncio.ensure_future(client.stop())
        try:
            await asyncio.wait([stopping], timeout=within_s)
        finally:
            if not stopping.done():
                stopping.cancel()
            stopping.add_done_callback(_ended)


def _ended(stopping: asyncio.Future[Any]) -> None:
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.info("a client did not stop cleanly: %s: %s", type(error).__name__, error)
