"""Notices an agent that has come to a standstill, and ends it.

A Faust worker can lose its consumer or its recovery task without ending: it then
looks alive and does nothing (see docs/delivery.md). `streams.watchdog` asks what
is not done yet; here is the answer of an agent.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from agents.runtime.executor import Executor
from agents.runtime.failstop import Pulse, fail_stop
from streams import watchdog
from streams.watchdog import Work

_PULSE_S: Final = 0.1
_ANSWER_S: Final = 5.0


async def beat(pulse: Pulse, app: Any) -> None:
    """Feel the pulse, and end the process with an app that has crashed."""
    while True:
        pulse.check()
        if app.crashed:
            fail_stop(f"Faust has crashed: {app.crash_reason!r}")
        await asyncio.sleep(_PULSE_S)


async def watch(app: Any, executor: Executor[Any, Any], limit_s: float) -> None:
    """End the process if it stands still for `limit_s` while there is work."""
    await watchdog.watch(lambda: _work(app, executor), limit_s)


async def _work(app: Any, executor: Executor[Any, Any]) -> Work | None:
    consumer = app.consumer
    try:
        sources = {tp for tp in consumer.assignment() if tp.topic in app.source_topics}
        ends = await asyncio.wait_for(consumer.ends(sources), _ANSWER_S) if sources else {}
    except (KafkaError, FaustError, TimeoutError):
        return None
    if app.rebalancing or not app.tables.actives_ready:
        recovered = executor.table_progress()
        return {"recovery": (consumer.app.consumer_generation_id, recovered)}
    committed = executor.committed
    if all(committed.get(tp, -1) >= end for tp, end in ends.items()):
        return {}
    return {"the agent": (executor.generation, executor.events, tuple(sorted(committed.items())))}
