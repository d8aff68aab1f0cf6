"""Garbage collection that no message waits for.

CPython frees what nothing refers to at once. Its collector is there for what refers to itself in
a circle, and finds it by visiting every container that is alive: with 8,000 requests in flight
that took 200 ms, every ten seconds, in which nothing was read, answered or committed. So all that
is alive is set aside each second (`gc.freeze`), where the collector does not look; nearly all of
it goes by its references none the less. What goes in circles after it was set aside is collected
now and then: when what is set aside has doubled, or after ten minutes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from math import inf
from typing import Final

EACH_S: Final = 1.0
WHOLE_S: Final = 600.0
"""Between two collections of everything, at most."""
SPARE: Final = 200_000
"""Containers by which what is set aside may more than double before all is collected."""


class Aside:
    """What is set aside, and when it was last looked through."""

    def __init__(self) -> None:
        self._kept = 0
        self._looked_at = -inf

    def tick(self, now: float) -> None:
        """Set aside what is alive; `now` is in seconds, on a clock that does not go back."""
        gc.freeze()
        due = now - self._looked_at >= WHOLE_S
        if due or gc.get_freeze_count() > 2 * self._kept + SPARE:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._kept = gc.get_freeze_count()
            self._looked_at = now


async def set_aside() -> None:
    """Keep the collector's work small until cancelled."""
    aside = Aside()
    try:
        while True:
            aside.tick(time.monotonic())
            await asyncio.sleep(EACH_S)
    finally:
        gc.unfreeze()
