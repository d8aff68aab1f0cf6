"""Reconnecting with patience, as Kafka's own clients do (`reconnect.backoff.ms`, `.max.ms`).

aiokafka connects again whenever a loop of its own comes round: with a lane for each partition
that was a thousand attempts a second while a broker was away, each with a line in the log. They
took the processor from the broker that was starting (docs/delivery.md).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup

FIRST_S: Final = 0.05
LONGEST_S: Final = 1.0
"""Kafka's defaults; a broker that is back is found within the longest."""
_JITTER: Final = 0.2
_MOST_TRIES: Final = 10
"""Beyond these the backoff grows no more."""


@dataclass(slots=True)
class _Away:
    """A broker that could not be reached."""

    tries: int = 0
    due: float = 0.0
    """When it may be tried again, on the event loop's clock."""

    def delay(self) -> None:
        """Try again after a while, each time after a longer one."""
        backoff = min(FIRST_S * 2**self.tries, LONGEST_S)
        self.tries = min(self.tries + 1, _MOST_TRIES)
        self.due = _now() + backoff * random.uniform(1 - _JITTER, 1 + _JITTER)


def patient(client: Any) -> None:
    """Make a client of aiokafka's wait between attempts to reach a broker.

    Neither producer nor consumer takes a client that others made, so theirs changes its class.
    """
    client.__class__ = _PatientClient
    client.away = {}


class _PatientClient(AIOKafkaClient):  # type: ignore[misc]
    away: dict[Any, _Away]

    async def _get_conn(
        self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        """Of those that wait for one broker the first tries again; the others go on without."""
        conn = self._conns.get((node_id, group))
        if conn is not None and conn.connected():
            return conn
        away = self.away.setdefault(node_id, _Away())
        if (wait := away.due - _now()) > 0:
            await asyncio.sleep(wait)
            if away.due > _now():
                return None
        if away.tries:
            away.delay()  # before it is tried: the others wait on
        conn = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        if conn is not None:
            self.away.pop(node_id, None)
        elif not away.tries:
            away.delay()
        return conn


def _now() -> float:
    return asyncio.get_running_loop().time()
