"""Everything that `headrace up` runs: the broker if none is named, the topics, the services."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from console.supervisor import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    LOOPBACK,
    Spec,
    Supervisor,
    serve_command,
)
from streams.broker import BrokerError, EmbeddedBroker
from streams.machine import Cluster, Machine
from streams.settings import Settings
from web.address import listen
from web.notify.settings import configured

AGENTS: Final = ("finance.reader", "finance.trends", "finance.alerts")
SCALABLE: Final = frozenset({"kernel", "relay", *AGENTS})
"""Services whose instances share partitions; of the others one works and the rest stands by."""
# What the services make in the data folder; the broker empties its own part.
_MADE: Final = ("models", "cache", "runs", "agents", "logs", "demo.json", "console")
_LOOK_S: Final = 0.5
_FIRST_PORT: Final = 9464
"""The first port for metrics: the one that exporters for Prometheus take by custom."""
_PORTS: Final = 1_000

Say = Callable[[str], None]


def specs(
    *, console: bool = False, notify: bool = False, ports: Iterator[int] | None = None
) -> list[Spec]:
    """The services, in the order in which they start, each with the next port for its metrics."""
    commands = {
        "kernel": serve_command("kernel"),
        "relay": serve_command("relay"),
        **{name: serve_command("agent", name) for name in AGENTS},
        "rollout": serve_command("rollout"),
        "trainer": serve_command("trainer"),
        **({"notify": serve_command("notify")} if notify else {}),
        **({"console": serve_command("console")} if console else {}),
    }
    ports = ports or itertools.repeat(0)
    return [
        Spec(name, command, next(ports), scalable=name in SCALABLE)
        for name, command in commands.items()
    ]


@contextlib.contextmanager
def metrics_ports(first_port: int) -> Iterator[Iterator[int]]:
    """Ports for metrics, one after the other; with 0 free ones, kept from others until the end."""
    with contextlib.ExitStack() as kept:
        yield itertools.count(first_port) if first_port else _free_ports(kept)


def _free_ports(kept: contextlib.ExitStack) -> Iterator[int]:
    """Ports that nobody has, below those that the system gives to connections.

    A service listens seconds after it was given its port. Until then, and while it starts
    again, a socket that is bound and does not listen keeps the port from another `headrace
    up`; that it allows re-use lets the service in, whose server allows it too. Only Linux
    has it so.
    """
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        holder = socket.socket()
        try:
            holder.bind((LOOPBACK, port))
        except OSError:
            holder.close()
            continue
        if sys.platform == "linux":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.enter_context(holder)
        else:
            holder.close()
        yield port
    yield from itertools.repeat(0)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the variables that hand them to another process."""
    found = {}
    for name, value in settings:
        if value is None or value == "":
            continue
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(plain, Path):
            plain = plain.absolute()
        if isinstance(plain, dict | list):
            plain = json.dumps(plain)  # as pydantic-settings reads it back
        if plain != "":
            found[f"HEADRACE_{name.upper()}"] = str(plain)
    return found


@asynccontextmanager
async def running(
    settings: Settings,
    say: Say,
    *,
    fresh: bool = False,
    port: int | None = None,
    console: bool = False,
) -> AsyncIterator[Settings]:
    """Run everything; yields the settings with the cluster's address in them.

    On the way out services end first, the embedded broker last.

    Raises:
        NotifyError: a target of alerts cannot be.
        AlreadyRunningError: somebody else runs in this data folder.
        AccessError, ListenError: the web console cannot listen where it should.
        BrokerError: the embedded broker cannot start.
    """
    from streams import admin

    notify = configured().any  # what cannot be is better said now than in a log
    settings = settings.model_copy(update={"data": settings.data.absolute()})
    machine = Machine(settings.data)
    async with contextlib.AsyncExitStack() as held:
        held.enter_context(machine.owned())
        if fresh:
            _clear(settings.data)
        if console:
            listen(settings).close()  # better said now than by a service that starts in vain
        if not settings.bootstrap:
            broker = EmbeddedBroker(settings.data / "broker", fresh=fresh, port=port, say=say)
            await broker.start()
            held.push_async_callback(broker.stop)
            machine.set_cluster(Cluster(broker.bootstrap, broker.pid))
            await held.enter_async_context(beside(_keep(broker, machine, say)))
            settings = settings.model_copy(update={"bootstrap": broker.bootstrap})
        say(f"cluster at {settings.bootstrap}")
        await admin.apply(settings)
        ports = held.enter_context(metrics_ports(settings.metrics_port))
        services = specs(console=console, notify=notify, ports=ports)
        supervisor = Supervisor(machine, services, environment(settings), say, ports)
        await held.enter_async_context(beside(supervisor.run()))
        yield settings


async def _keep(broker: EmbeddedBroker, machine: Machine, say: Say) -> None:
    """Start the broker again where its Java ended."""
    delay = FIRST_DELAY_S
    while True:
        await asyncio.sleep(_LOOK_S)
        if broker.alive:
            delay = FIRST_DELAY_S
            continue
        say(f"the broker ended; next start in {delay:g} s; log {broker.log}")
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY_S)
        try:
            await broker.start()
            machine.set_cluster(Cluster(broker.bootstrap, broker.pid))
        except BrokerError as error:
            say(str(error))


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the body: it ends with the body, and the body ends when it does."""
    body = asyncio.current_task()
    ending = False

    def ended(task: asyncio.Task[None]) -> None:
        if not ending and body is not None and not task.cancelled():
            body.cancel()

    task = asyncio.ensure_future(work)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        ending = True
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task  # what it failed with is raised here, in place of the cancellation


def _clear(data: Path) -> None:
    for name in _MADE:
        path = data / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


async def until_signal(main: Coroutine[Any, Any, None], say: Say) -> None:
    """Run `main`; SIGINT, SIGTERM or SIGHUP cancel it once, further ones do not hurry it."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked:
            say("stopping; services commit what they have finished")
        else:
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup means what it says; a shell's `&` ignores SIGINT alike, but who sends it means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
