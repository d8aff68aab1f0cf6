"""The supervisor restarts what ends, waits longer each time, and leaves nobody behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from console import supervisor
from console.supervisor import Spec, Supervisor
from streams.machine import AlreadyRunningError, Machine, Service
from tests.support.command import environment, headrace

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEADLINE_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; fail where it does not within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (another process makes it true)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def supervised(machine: Machine, *specs: Spec) -> AsyncIterator[list[str]]:
    """A running supervisor; gives what it says."""
    said: list[str] = []
    with machine.owned():
        task = asyncio.ensure_future(Supervisor(machine, specs, {}, said.append).run())
        try:
            yield said
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def state(machine: Machine, role: str) -> Service | None:
    return next((one for one in machine.services() if one.role == role), None)


def pid_of(machine: Machine, role: str) -> int:
    found = state(machine, role)
    return (found.pid or 0) if found is not None else 0


async def test_a_killed_service_starts_again_and_ps_counts_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with supervised(machine, Spec("kernel", SLEEPER), Spec("relay", SLEEPER)) as said:
        await until(lambda: pid_of(machine, "kernel") > 0 and pid_of(machine, "relay") > 0)
        first, other = pid_of(machine, "kernel"), pid_of(machine, "relay")
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_of(machine, "kernel") not in {0, first})

        again = state(machine, "kernel")
        assert again is not None
        assert (again.state, again.restarts, again.last_exit) == ("running", 1, "signal 9")
        assert pid_of(machine, "relay") == other, "the others are left alone"
        assert any("kernel ended (signal 9)" in message for message in said)
        shown = await asyncio.to_thread(headrace, "ps", "--data", str(tmp_path), "--json")
        assert [(one["role"], one["restarts"]) for one in shown.lines()] == [
            ("kernel", 1),
            ("relay", 0),
        ]
        second = again.pid
        assert second is not None
    assert not any(psutil.pid_exists(pid) for pid in (first, second, other))
    assert machine.services() == []


async def test_a_service_that_keeps_failing_waits_twice_as_long_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_S", 0.2)
    failing = [sys.executable, "-c", "import sys; sys.exit('port 1 is taken: free it')"]
    machine = Machine(tmp_path)
    async with supervised(machine, Spec("trainer", failing)) as said:
        await until(lambda: len(said) >= 4)
    delays = [message.split("next start in ")[1].split(" s")[0] for message in said[:4]]
    assert delays == ["0.05", "0.1", "0.2", "0.2"]
    assert "port 1 is taken: free it" in said[0], "the reason is on the screen"
    assert "port 1 is taken" in (tmp_path / "logs" / "trainer.log").read_text()


async def test_a_service_that_does_not_end_when_asked_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_PATIENCE_S", 0.3)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(600)"
    )
    stubborn = [sys.executable, "-c", program]
    machine = Machine(tmp_path)
    log = tmp_path / "logs" / "kernel.log"
    async with supervised(machine, Spec("kernel", stubborn)):
        await until(lambda: log.exists() and "deaf" in log.read_text())
        pid = pid_of(machine, "kernel")
    assert not psutil.pid_exists(pid)


async def test_a_long_log_is_set_aside_when_a_service_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LOG_BYTES", 10)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "kernel.log").write_text("an old and long log\n")
    machine = Machine(tmp_path)
    async with supervised(machine, Spec("kernel", SLEEPER)):
        await until(lambda: "up" in (logs / "kernel.log").read_text())
    assert (logs / "kernel.log.1").read_text() == "an old and long log\n"
    assert "old" not in (logs / "kernel.log").read_text()


async def test_services_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from streams.machine import Machine\n"
        "from console.supervisor import Spec, Supervisor\n"
        f"machine = Machine(pathlib.Path({str(tmp_path)!r}))\n"
        "with machine.owned():\n"
        f"    asyncio.run(Supervisor(machine, [Spec('kernel', {SLEEPER!r})], {{}}, print).run())\n"
    )
    command = [sys.executable, "-c", program]
    parent = subprocess.Popen(command, env=environment())  # noqa: ASYNC220, S603
    machine = Machine(tmp_path)
    try:
        await until(lambda: pid_of(machine, "kernel") > 0)
        child = pid_of(machine, "kernel")
    finally:
        parent.kill()
        parent.wait()
    await until(lambda: not psutil.pid_exists(child))
    assert not machine.running(), "what a kill left behind deceives nobody"
    with machine.owned():
        pass


def test_a_data_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with Machine(tmp_path).owned():
        Machine(tmp_path).set_services([])
        with (
            pytest.raises(AlreadyRunningError, match=rf"process {os.getpid()}.*--data"),
            Machine(tmp_path).owned(),
        ):
            pass
    began = time.monotonic()
    with Machine(tmp_path).owned():
        assert time.monotonic() - began < 5  # not as long as a dying owner is waited for


async def test_a_service_that_cannot_be_started_does_not_stop_the_others(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "logs" / "trainer.log").mkdir(parents=True)
    async with supervised(machine, Spec("trainer", SLEEPER), Spec("kernel", SLEEPER)) as said:
        await until(lambda: pid_of(machine, "kernel") > 0 and len(said) > 0)
        assert "trainer ended (not started: " in said[0]
