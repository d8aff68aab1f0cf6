"""The processes under attack: who they are, and what can be done to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

_LOOK_S: Final = 0.1
_RESTART_S: Final = 0.5


class Crew(Protocol):
    """Supervised processes by name."""

    def pid(self, name: str) -> int | None:
        """The process called `name`; None while it does not run."""


async def running(
    crew: Crew, name: str, *, other_than: int | None = None, timeout_s: float = 60.0
) -> int:
    """The process called `name`, waited for; with `other_than`, its successor.

    Raises:
        TimeoutError: it does not come back.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            pid = crew.pid(name)
            if pid is not None and pid != other_than:
                return pid
            await asyncio.sleep(_LOOK_S)


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; whether the process was still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


class Keeper:
    """Copies of one subject, each started again when it ends; a plain supervisor."""

    def __init__(self, subject: str, names: Iterable[str], variables: dict[str, str], logs: Path):
        self._command = [sys.executable, "-m", "proof.chaos.subjects", subject]
        self._names = list(names)
        self._variables = {
            name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")
        } | variables
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = 0

    def pid(self, name: str) -> int | None:
        """The process called `name`; None while it does not run."""
        process = self._processes.get(name)
        return process.pid if process is not None and process.poll() is None else None

    async def run(self) -> None:
        """Keep them running until cancelled; then end them all."""
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            while True:
                for name in self._names:
                    if self.pid(name) is None:
                        self.restarts += name in self._processes
                        self._processes[name] = self._start(name)
                await asyncio.sleep(_RESTART_S)
        finally:
            await asyncio.to_thread(self._end)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                self._command,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self) -> None:
        for process in self._processes.values():
            send(process.pid, signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
