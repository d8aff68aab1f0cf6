"""The threads on which forward passes run, and the watch over them.

A thread cannot be killed. A pass that runs too long is first interrupted; ONNX Runtime then
stops before its next operator. One that does not even notice that is given up: its thread is
left to itself, another takes its place, and what the pass may still give is never looked at.
A process with too many such threads ends, so that another takes over its lanes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_ABANDONED: Final = 8
"""Threads that hang at a time; a batch with one bad input costs two."""
_TICKS: Final = 10
"""In which a time-out is counted. Ticks, not a clock: a process that was stopped and goes on
must not find that its passes have hung."""
GRACE_TICKS: Final = 3
"""From the interrupt to giving up."""
NICE: Final = 5
"""Of the threads: they take what cores are left. The event loop, which commits, the agents and
the broker need little and come first, or the passes starve what feeds them."""


class StuckError(Exception):
    """Too many passes hang for this process to go on."""


class HungError(Exception):
    """A pass had no answer in time."""


@dataclass(slots=True, eq=False)
class _Call:
    """Something to be done on a thread."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread, and what it does now."""

    thread: threading.Thread | None = None
    call: _Call | None = None
    watched: _Watched | None = None
    abandoned: bool = False
    changing: threading.Lock = field(default_factory=threading.Lock)
    """Of `watched`: an interrupt must not hit the pass after the one that it is meant for."""


@dataclass(slots=True, eq=False)
class _Watched:
    """A pass that runs."""

    interrupt: Callable[[int], None]
    instead: Callable[[HungError], Any]
    ticks: int = field(default=0)
    late: bool = field(default=False)


class Passes:
    """`threads` threads that do what they are asked, and are watched while a model runs."""

    def __init__(self, threads: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._workers: set[_Worker] = set()
        self._local = threading.local()
        self._abandoned: set[_Worker] = set()
        for _ in range(threads):
            self._start()

    @property
    def abandoned(self) -> int:
        """Threads that were given up and hang still."""
        return len(self._abandoned)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do `work` on the next free thread; cancelling does not stop what has begun."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._calls.put(_Call(work, done, loop))
        return done

    @contextmanager
    def watched(
        self, interrupt: Callable[[int], None], instead: Callable[[HungError], Any]
    ) -> Iterator[None]:
        """Around a pass, on one of the threads.

        One that runs too long is interrupted, by `interrupt` with its thread's identifier, and
        whatever it raises then becomes a HungError. If even that does not help, its call gives
        what `instead` returns.

        Raises:
            HungError: the pass was interrupted.
        """
        worker: _Worker = self._local.worker
        watched = worker.watched = _Watched(interrupt, instead)
        try:
            yield
        except Exception as error:
            if watched.late:
                raise self._hung() from error
            raise
        finally:
            with worker.changing:
                worker.watched = None

    async def watch(self) -> None:
        """Watch until cancelled.

        Raises:
            StuckError: too many passes hang.
        """
        while True:
            await asyncio.sleep(self._timeout_s / _TICKS)
            for worker in list(self._workers):
                with worker.changing:
                    self._look_at(worker)
            if self.abandoned >= MAX_ABANDONED:
                raise StuckError(
                    f"{self.abandoned} forward passes hang and cannot be interrupted; this kernel "
                    "ends so that another takes over its lanes"
                )

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in self._workers:
            self._calls.put(None)

    def _look_at(self, worker: _Worker) -> None:
        watched, ident = worker.watched, worker.thread.ident if worker.thread else None
        if watched is None or ident is None:
            return
        watched.ticks += 1
        if watched.ticks > _TICKS + GRACE_TICKS:
            self._abandon(worker, watched)
        elif watched.ticks > _TICKS and not watched.late:
            watched.late = True
            watched.interrupt(ident)

    def _hung(self) -> HungError:
        return HungError(f"no answer in {self._timeout_s:g} s (HEADRACE_FORWARD_TIMEOUT_S)")

    def _start(self) -> None:
        worker = _Worker()
        # A daemon: a thread that hangs must not keep the process from ending.
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name="forward", daemon=True
        )
        self._workers.add(worker)
        worker.thread.start()

    def _abandon(self, worker: _Worker, watched: _Watched) -> None:
        call = worker.call
        if call is None:
            return
        worker.abandoned = True
        self._abandoned.add(worker)
        self._workers.discard(worker)
        log.error("a forward pass hangs; %d do now, and another thread goes on", self.abandoned)
        self._start()
        _finish(call.done, watched.instead(self._hung()), None)

    def _work(self, worker: _Worker) -> None:
        self._local.worker = worker
        if sys.platform == "linux":  # elsewhere the call is about the whole process
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not worker.abandoned and (call := self._calls.get()) is not None:
            worker.call = call
            result, error = None, None
            try:
                result = call.work()
            except BaseException as raised:  # noqa: BLE001  (the caller's to handle)
                error = raised
            worker.call = None
            # The loop may be closed when a pass of a kernel that ends comes back.
            with suppress(RuntimeError):
                call.loop.call_soon_threadsafe(_finish, call.done, result, error)
            del call, result, error
        self._abandoned.discard(worker)


def _finish(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
