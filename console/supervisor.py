"""Keeps the services of one machine running: starts, restarts with backoff, stops.

Each service is a process in a session of its own, so that Ctrl-C in a terminal reaches
the supervisor alone and the supervisor decides the order. Between the two stands the
broker's leash (`streams.leash`): when its standard input closes, which the system sees to
even if the supervisor is killed, it sends SIGTERM to the service, and SIGKILL after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from streams import control, leash
from streams.control import ControlError, Order
from streams.machine import Machine, Service

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 15.0
HEALTHY_S: Final = 60.0
"""A service that ran this long before it ended starts again without further delay."""
_PATIENCE_S: Final = 10.0
"""How long a service may take to end by itself; within the transaction time-out."""
_LOG_BYTES: Final = 16 * 1_048_576
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Spec:
    """A service to keep running: its name and the command that starts it."""

    name: str
    command: Sequence[str]
    metrics_port: int = 0
    """Where it serves its metrics on the loopback address; 0: as the settings say."""
    scalable: bool = False
    """Whether several of it share the work."""

    @property
    def metrics(self) -> str:
        """Address of its metrics; empty where the supervisor gave it no port."""
        port = self.metrics_port
        return f"http://{LOOPBACK}:{port}/metrics" if port else ""

    @property
    def environment(self) -> dict[str, str]:
        """Settings of this service alone."""
        if not self.metrics_port:
            return {}
        return {
            "HEADRACE_METRICS_HOST": LOOPBACK,
            "HEADRACE_METRICS_PORT": str(self.metrics_port),
        }


def serve_command(role: str, name: str | None = None) -> list[str]:
    """The command that runs one service of Headrace."""
    return [sys.executable, "-m", "console.main", "serve", role, *([name] if name else [])]


class Supervisor:
    """Runs `specs` until cancelled, then ends them all; their state is on `machine`.

    Of each service there is a wanted count of instances, one at first; `order` changes it.
    Further instances are called `kernel-2`, `kernel-3`, and take their metrics from `ports`.
    """

    def __init__(
        self,
        machine: Machine,
        specs: Sequence[Spec],
        environment: dict[str, str],
        say: Callable[[str], None],
        ports: Iterator[int] | None = None,
    ) -> None:
        self._machine = machine
        self._specs = {spec.name: spec for spec in specs}
        self._environment = environment
        self._say = say
        self._ports = ports or itertools.repeat(0)
        self._logs = machine.data / "logs"
        self._services: dict[str, Service] = {}
        self._running: dict[str, dict[str, asyncio.Task[None]]] = {one: {} for one in self._specs}
        """Of each service the tasks that keep its instances, by their names."""
        self._wanted = dict.fromkeys(self._specs, 1)
        """Instances that run, or will run again when a stopped service is started."""
        self._replicas: dict[str, Spec] = {}
        self._one_order = asyncio.Lock()

    async def run(self) -> None:
        """Start everything; returns only by cancellation, when every service has ended."""
        self._logs.mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as tasks, control.serving(self._machine.data, self.order):
            self._tasks = tasks
            for name in self._specs:
                await self._scale(name, 1)
            await asyncio.get_running_loop().create_future()

    async def order(self, order: Order) -> str:
        """Carry an order out; returns when it is done, in words.

        Raises:
            ControlError: no such service, or one that cannot be scaled so.
        """
        name = order.service
        if name in self._replicas:
            name = name.rpartition("-")[0]
        spec = self._specs.get(name)
        if spec is None:
            raise ControlError(f"no service {name!r}; there are {', '.join(self._specs)}")
        async with self._one_order:
            if order.verb == "scale":
                if order.count > 1 and not spec.scalable:
                    raise ControlError(f"{name} runs once at most")
                self._wanted[name] = order.count or self._wanted[name]
                await self._scale(name, order.count)
            if order.verb in {"stop", "restart"}:
                await self._scale(name, 0)
            if order.verb in {"start", "restart"}:
                await self._scale(name, self._wanted[name])
        count = len(self._running[name])
        said = f"{name} is stopped" if not count else f"{name}: {count} running"
        self._say(said)
        return said

    async def _scale(self, name: str, count: int) -> None:
        running = self._running[name]
        instances = self._instances(name)
        for extra in instances[count:]:
            task = running.pop(extra.name, None)
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                self._forget(extra.name, is_first=extra.name == name)
        while len(instances) < count:
            number = len(instances) + 1
            first = self._specs[name]
            more = replace(first, name=f"{name}-{number}", metrics_port=next(self._ports))
            self._replicas[more.name] = more
            instances.append(more)
        for spec in instances[:count]:
            if spec.name not in running:
                running[spec.name] = self._tasks.create_task(self._keep(spec))

    def _instances(self, name: str) -> list[Spec]:
        """The first instance and those that were ever added, in their order."""
        found = [self._specs[name]]
        while (more := f"{name}-{len(found) + 1}") in self._replicas:
            found.append(self._replicas[more])
        return found

    def _forget(self, name: str, *, is_first: bool) -> None:
        """Show that an instance was stopped: the first as stopped, others not at all."""
        service = self._services.pop(name, None)
        if service is not None and is_first:
            self._services[name] = replace(service, state="stopped", pid=None, since=_now())
        self._publish()

    async def _keep(self, spec: Spec) -> None:
        log = self._logs / f"{spec.name}.log"
        known = self._services.get(spec.name)
        restarts, last_exit = (known.restarts, known.last_exit) if known is not None else (0, "")
        service = Service(
            spec.name, None, "starting", restarts, _now(), last_exit, str(log), spec.metrics
        )
        delay = FIRST_DELAY_S
        while True:
            began = time.monotonic()
            self._set(replace(service, state="starting", since=_now()))
            try:
                how = _exit(await self._run_once(spec, service, log))
            except OSError as error:  # the disk is full, say: no reason to stop the others
                how = f"not started: {error}"
            if time.monotonic() - began >= HEALTHY_S:
                delay = FIRST_DELAY_S
            service = replace(service, restarts=service.restarts + 1, last_exit=how)
            self._set(replace(service, state="waiting", since=_now()))
            self._say(f"{spec.name} ended ({how}); next start in {delay:g} s; {_last(log)}")
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    async def _run_once(self, spec: Spec, service: Service, log: Path) -> int:
        """Run the service until it ends; its exit status."""
        process, pid = await self._start(spec, log)
        try:
            self._set(replace(service, state="running", pid=pid, since=_now()))
            return await process.wait()
        finally:
            await _end(process)
            self._set(replace(service, state="stopped", since=_now()))

    async def _start(self, spec: Spec, log: Path) -> tuple[asyncio.subprocess.Process, int]:
        _rotate(log)
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                leash.__file__,
                str(_PATIENCE_S),
                *spec.command,
                env=os.environ | self._environment | spec.environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        assert process.stdout is not None  # noqa: S101
        try:
            return process, int(await process.stdout.readline() or 0)
        except BaseException:
            await _end(process)
            raise

    def _set(self, service: Service) -> None:
        self._services[service.role] = service
        self._publish()

    def _publish(self) -> None:
        order = [spec.name for name in self._specs for spec in self._instances(name)]
        with contextlib.suppress(OSError):  # `ps` shows old news; the services run on
            self._machine.set_services(
                [self._services[one] for one in order if one in self._services]
            )


def _rotate(log: Path) -> None:
    """Begin a new file where the old one is long; one old one is kept."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let go of the leash and wait until the service is gone."""
    if process.returncode is None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE_S + 5.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # the leash itself hangs; on Linux the service goes with it
            await process.wait()


def _exit(code: int) -> str:
    return f"signal {code - 128}" if code > 128 else f"code {code}"


def _last(log: Path) -> str:
    """The last line of a log, for a person who has not opened it yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4_096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return f"log {log}: {lines[-1][:300]}" if lines else f"log {log}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
