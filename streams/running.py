"""How a service runs: uvloop, SIGTERM and SIGINT end it cleanly, a fault ends it loudly."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from streams.garbage import set_aside
from streams.together import see
from streams.watchdog import fail_stop

log = logging.getLogger(__name__)

_END_S: Final = 20.0


def run_service(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` until it returns or a signal asks for the end.

    Raises:
        EndedError: `main` was cancelled, though no signal had asked for the end.
        Exception: what `main` raised: the process ends with a non-zero code.
    """
    uvloop.run(_until_signal(main))


async def _until_signal(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.create_task(main())
    asked = False

    def end() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    tidying = asyncio.create_task(set_aside())
    await asyncio.wait([task])
    tidying.cancel()
    # What is left over may not want to end; the process does.
    threading.Thread(target=_end_anyway, daemon=True).start()
    if not (task.cancelled() and asked):
        see(task)


def _end_anyway() -> None:
    time.sleep(_END_S)
    fail_stop(f"something still runs {_END_S:.0f} s after the service has ended")
