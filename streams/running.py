"""How a service runs: uvloop, SIGTERM and SIGINT end it cleanly, a fault ends it loudly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

log = logging.getLogger(__name__)


def run_service(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` until it returns or a signal asks for the end.

    Raises:
        Exception: what `main` raised: the process ends with a non-zero code.
    """
    uvloop.run(_until_signal(main))


async def _until_signal(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.ensure_future(main())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
