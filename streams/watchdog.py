"""The watchdog: ends a process that stands still while there is work, for its supervisor.

A service can lose a task, a connection or a coordinator without ending: it then looks
alive and does nothing (docs/delivery.md). What counts is progress.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, NoReturn

from aiokafka.errors import KafkaError

from streams.lag import Lag, lags
from streams.reading import StalledError
from streams.settings import Settings

log = logging.getLogger(__name__)

EXIT_CODE: Final = 70
"""EX_SOFTWARE of sysexits.h; the supervisor starts the process again."""

_LOOKS: Final = 8
"""In the time that a standstill may last."""
_ANSWER_S: Final = 10.0

Work = Mapping[Hashable, object]
"""What is not done yet, by name, each with what progress would change."""


def fail_stop(reason: str) -> NoReturn:
    """Log `reason` and end the process at once, without flushing anything to the broker."""
    log.critical("%s; the process ends now, to be started again by its supervisor", reason)
    logging.shutdown()
    os._exit(EXIT_CODE)


async def watch(look: Callable[[], Awaitable[Work | None]], limit_s: float) -> NoReturn:
    """End the process once anything of its work has stood still for `limit_s`.

    `look` returns None where nobody can tell, as when the brokers do not answer: that time
    does not count, nor does time in which this process did not run.
    """
    pause = limit_s / _LOOKS
    seen: dict[Hashable, object] = {}
    stood: dict[Hashable, float] = {}
    while True:
        began = time.monotonic()
        await asyncio.sleep(pause)
        passed = min(time.monotonic() - began, 2 * pause)
        work = await look()
        if work is None:
            continue
        stood = {
            name: stood.get(name, 0.0) + passed if seen.get(name) == state else 0.0
            for name, state in work.items()
        }
        seen = dict(work)
        for name, seconds in stood.items():
            if seconds >= limit_s:
                fail_stop(f"no progress of {name} for {limit_s:.0f} s although there is work to do")


async def behind(settings: Settings, group: str, topics: Sequence[str]) -> list[Lag] | None:
    """Where the reading of a group has records before it; None: the cluster does not say."""
    try:
        rows = await asyncio.wait_for(lags(settings, of={group: topics}), _ANSWER_S)
    except (KafkaError, OSError, StalledError, TimeoutError):
        return None
    return [row for row in rows if row.lag]
