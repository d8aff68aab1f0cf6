"""Notices an agent that has come to a standstill, and ends it.

A Faust worker can lose its consumer or its recovery task without ending: it then
looks alive and does nothing (see docs/delivery.md). What counts is progress.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from agents.runtime.executor import Executor
from agents.runtime.failstop import Pulse, fail_stop

_PULSE_S: Final = 0.1
_ASK_S: Final = 1.0
_ANSWER_S: Final = 5.0


async def beat(pulse: Pulse, app: Any) -> None:
    """Feel the pulse, and end the process with an app that has crashed."""
    while True:
        pulse.check()
        if app.crashed:
            fail_stop(f"Faust has crashed: {app.crash_reason!r}")
        await asyncio.sleep(_PULSE_S)


async def watch(app: Any, executor: Executor[Any, Any], limit_s: float) -> None:
    """End the process if it stands still for `limit_s` while there is work.

    Time in which the brokers do not answer does not count.
    """
    seen: object = None
    since = time.monotonic()
    while True:
        await asyncio.sleep(_ASK_S)
        asked = time.monotonic()
        idle, state = await _observe(app, executor)
        if idle is None:  # no answer: neither progress nor standstill
            since += time.monotonic() - asked + _ASK_S
        elif idle or state != seen:
            seen, since = state, time.monotonic()
        elif time.monotonic() - since > limit_s:
            fail_stop(f"no progress for {limit_s:.0f} s although there is work to do")


async def _observe(app: Any, executor: Executor[Any, Any]) -> tuple[bool | None, object]:
    """Whether there is nothing to do (None: unknown), and what progress would change."""
    consumer = app.consumer
    try:
        sources = {tp for tp in consumer.assignment() if tp.topic in app.source_topics}
        ends = await asyncio.wait_for(consumer.ends(sources), _ANSWER_S) if sources else {}
    except (KafkaError, FaustError, TimeoutError):
        return None, None
    if app.rebalancing or not app.tables.actives_ready:
        recovered = executor.table_progress()
        return False, ("recovering", consumer.app.consumer_generation_id, recovered)
    committed = executor.committed
    idle = all(committed.get(tp, -1) >= end for tp, end in ends.items())
    return idle, (executor.generation, executor.events, tuple(sorted(committed.items())))
