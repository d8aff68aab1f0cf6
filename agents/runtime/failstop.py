"""Fail-stop: where an ordering guarantee is lost, the process ends before it can say more.

A half-failed worker that goes on could deliver a later emission after an earlier
one was lost, and the watermark rule would then drop the earlier one's replay.
"""

from __future__ import annotations

import threading
import time
from typing import NoReturn

from streams.watchdog import EXIT_CODE, fail_stop

__all__ = ["EXIT_CODE", "Pulse", "fail_stop"]


class Pulse:
    """Notices that the event loop stood still, from inside and from outside of it.

    A process that was stopped for longer than its group waits for it may have been
    replaced by another owner of its partitions: it ends rather than write what the
    other one has long written. A loop that an agent holds up for ever is ended from
    a thread, since the consumer's own thread goes on to tell the group that all is well.
    """

    def __init__(self, session_s: float, standstill_s: float) -> None:
        self._session_s = session_s
        self._standstill_s = standstill_s
        self._last = time.monotonic()

    def check(self) -> None:
        """To be called often in the loop; ends the process if the last call is too long ago."""
        now = time.monotonic()
        silent, self._last = now - self._last, now
        if silent > self._session_s:
            fail_stop(f"this process stood still for {silent:.1f} s, longer than its session")

    def watch(self) -> None:
        """Start the thread that watches from outside."""
        self._last = time.monotonic()
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    def _watch(self) -> NoReturn:
        while True:
            time.sleep(min(self._standstill_s / 4, 1.0))
            if time.monotonic() - self._last > self._standstill_s:
                fail_stop(f"the agent has held the process up for {self._standstill_s:.0f} s")
