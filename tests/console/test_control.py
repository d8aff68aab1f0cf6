"""Orders reach the supervisor by its socket: stop, start, scale; from its owner alone."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from console.supervisor import Spec
from streams import control
from streams.control import ControlError, Order
from streams.machine import Machine
from tests.console.test_supervisor import SLEEPER, pid_of, state, supervised, until
from tests.support.command import headrace


def running(machine: Machine) -> list[str]:
    return [one.role for one in machine.services() if one.state == "running"]


async def test_a_service_is_scaled_stopped_and_started_as_ps_shows(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    data = ["--data", str(tmp_path)]
    specs = (Spec("kernel", SLEEPER, scalable=True), Spec("relay", SLEEPER))
    async with supervised(machine, *specs):
        await until(lambda: running(machine) == ["kernel", "relay"])
        first, relay = pid_of(machine, "kernel"), pid_of(machine, "relay")

        said = await asyncio.to_thread(headrace, "scale", "kernel", "3", *data)
        assert (said.code, said.out) == (0, "kernel: 3 running\n")
        await until(lambda: running(machine) == ["kernel", "kernel-2", "kernel-3", "relay"])
        assert pid_of(machine, "kernel") == first, "the one that ran runs on"

        await asyncio.to_thread(headrace, "scale", "kernel", "2", *data)
        assert running(machine) == ["kernel", "kernel-2", "relay"]

        assert (await asyncio.to_thread(headrace, "stop", "kernel", *data)).code == 0
        assert running(machine) == ["relay"]
        stopped = state(machine, "kernel")
        assert stopped is not None
        assert (stopped.state, stopped.pid) == ("stopped", None)

        assert (await asyncio.to_thread(headrace, "start", "kernel", *data)).code == 0
        await until(lambda: running(machine) == ["kernel", "kernel-2", "relay"])
        assert pid_of(machine, "relay") == relay, "the others are left alone"


async def test_what_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with pytest.raises(ControlError, match="headrace up"):
        await control.ask(tmp_path, Order(verb="stop", service="relay"))
    async with supervised(machine, Spec("trainer", SLEEPER)):
        await until(lambda: running(machine) == ["trainer"])
        with pytest.raises(ControlError, match="runs once"):
            await control.ask(tmp_path, Order(verb="scale", service="trainer", count=2))
        with pytest.raises(ControlError, match="there are trainer"):
            await control.ask(tmp_path, Order(verb="stop", service="../kernel"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / control.NAME)
        writer.write(b'{"verb": "rm", "service": "trainer"}\n')
        assert b"no order" in await reader.readline()
        writer.close()
    assert running(machine) == []


async def test_the_socket_is_its_owner_s_alone_and_goes_with_the_supervisor(
    tmp_path: Path,
) -> None:
    place = tmp_path / ("long" * 30)
    place.mkdir()
    machine = Machine(place)
    async with supervised(machine, Spec("relay", SLEEPER)):
        await until(lambda: running(machine) == ["relay"])
        mode = (place / control.NAME).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        order = Order(verb="stop", service="relay")
        assert await control.ask(place, order) == "relay is stopped"
    assert not (place / control.NAME).exists()


async def test_a_service_may_have_itself_restarted(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with supervised(machine, Spec("console", SLEEPER)):
        await until(lambda: running(machine) == ["console"])
        before = pid_of(machine, "console")
        _, writer = await asyncio.open_unix_connection(tmp_path / control.NAME)
        writer.write(b'{"verb": "restart", "service": "console"}\n')
        await writer.drain()
        writer.close()  # as if it had been ended by its own order
        await until(lambda: pid_of(machine, "console") not in {0, before})
