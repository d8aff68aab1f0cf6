"""A whole Headrace from outside: `headrace up` as a process, as a user would start it.

The proofs (faults, benchmarks) test the product that people run, so nothing here
reaches into a service: it starts the command, reads the state files that the
command writes for others (`streams.machine`), and sends signals.

    async with Installation(folder, {"HEADRACE_PARTITIONS": "8"}) as headrace:
        headrace.settings      # clients through streams.cluster, streams.reading, ...
        headrace.pid("kernel")
        with headrace.extra("kernel") as second: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from streams import leash, publishing, reading
from streams.machine import Machine, Service
from streams.message import Message
from streams.reading import Record
from streams.settings import Settings

START_S: Final = 180.0
"""A first start fetches the broker's jars."""
STOP_S: Final = 90.0
_LOOK_S: Final = 0.1


class InstallationError(Exception):
    """The installation did not do what was asked; the message holds the end of its log."""


class Process:
    """A service that runs beside the supervised ones, started by hand: `headrace serve ...`."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int | None:
        """Of the running process; None once it has ended."""
        return self._popen.pid if self._popen.poll() is None else None

    def kill(self) -> None:
        """SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.kill()

    def stop(self, patience_s: float = 20.0) -> None:
        """SIGTERM, and SIGKILL where that is not enough; returns when it is gone."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGCONT)
                self._popen.terminate()
        try:
            self._popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Installation:
    """`headrace up` over the folder `data`; `environment` holds settings as HEADRACE_* variables.

    Raises `InstallationError` where it does not start.
    """

    def __init__(self, data: Path, environment: Mapping[str, str] | None = None) -> None:
        self.data = data.absolute()
        self.log = self.data / "up.log"
        self._environment = dict(environment or {})
        self._machine = Machine(self.data)
        self._up: subprocess.Popen[bytes] | None = None

    # Life.

    async def start(self, *, fresh: bool = False) -> None:
        """Start, and return when the broker answers and every service runs."""
        self._launch(["--fresh"] if fresh else [])
        await self.wait_until_running()

    async def wait_until_running(
        self, names: Sequence[str] = (), timeout_s: float = START_S
    ) -> None:
        """Return when the services called `names` run; without names, all that there are."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._up is None or self._up.poll() is not None:
                raise InstallationError(
                    f"`headrace up` ended; the end of {self.log}:\n{self.tail()}"
                )
            services = self.services()
            wanted = names or list(services)
            if (
                self.bootstrap
                and wanted
                and all(name in services and services[name].state == "running" for name in wanted)
            ):
                return
            await asyncio.sleep(_LOOK_S)
        raise InstallationError(
            f"not running after {timeout_s:.0f} s: {self.services()}; the end of {self.log}:\n"
            + self.tail()
        )

    async def stop(self) -> int:
        """End everything as Ctrl-C does; the exit code of `headrace up`."""
        if self._up is None:
            return 0
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
        try:
            return await asyncio.to_thread(self._up.wait, STOP_S)
        except subprocess.TimeoutExpired as error:
            self._up.kill()  # its services and its broker follow: they are on leashes
            self._up.wait()
            raise InstallationError(
                f"did not end within {STOP_S:.0f} s; the end of {self.log}:\n{self.tail()}"
            ) from error

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            with contextlib.suppress(InstallationError):
                await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # What it says about itself.

    @property
    def bootstrap(self) -> str:
        """Address of the embedded broker, or of the cluster that the environment names."""
        cluster = self._machine.cluster()
        return cluster.bootstrap if cluster else self._environment.get("HEADRACE_BOOTSTRAP", "")

    @property
    def broker_pid(self) -> int | None:
        """Of the embedded broker's Java as last started; None where there is none."""
        cluster = self._machine.cluster()
        return cluster.pid if cluster else None

    @property
    def settings(self) -> Settings:
        """Settings of a client of this installation."""
        given = {
            name.removeprefix("HEADRACE_").lower(): value
            for name, value in self._environment.items()
            if name.startswith("HEADRACE_")
        }
        return Settings(**given | {"data": self.data, "bootstrap": self.bootstrap})  # type: ignore[arg-type]

    def services(self) -> dict[str, Service]:
        """The supervised services by name."""
        return {service.role: service for service in self._machine.services()}

    def pid(self, name: str) -> int | None:
        """Process of the service `name`; None while it does not run."""
        found = self.services().get(name)
        return found.pid if found is not None and found.state == "running" else None

    def tail(self, lines: int = 30) -> str:
        """The last lines that `headrace up` printed."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    # What a client does with it.

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order; returns when all are acknowledged."""
        async with publishing.publisher(self.settings) as sender:
            for message in messages:
                await sender.send(message)

    async def read(self, *topics: str, **options: Any) -> list[Record]:
        """Committed records of `topics`; `options` as for `streams.reading.read`."""
        return [record async for record in reading.read(self.settings, topics, **options)]

    async def follow(self, *topics: str) -> AsyncIterator[Record]:
        """Committed records of `topics` from the start, without end."""
        async for record in reading.read(self.settings, topics, until_end=False):
            yield record

    def run(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run another `headrace` command against this installation."""
        return subprocess.run(  # noqa: S603
            [*_HEADRACE, *arguments],
            cwd=self.data,
            env=self._variables() | {"HEADRACE_DATA": str(self.data)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def spawn(
        self,
        role: str,
        name: str = "",
        *,
        label: str = "",
        environment: Mapping[str, str] | None = None,
        module: str = "",
    ) -> Process:
        """One more service beside the supervised ones; end it with `stop`.

        `role` and `name` as in `headrace serve`; `environment` goes above the settings,
        for instance another HEADRACE_BOOTSTRAP. `module` is run in place of the command.
        """
        label = label or name or role
        log = self.data / "logs" / f"extra-{label}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        served = (*_HEADRACE, "serve", role, *([name] if name else []))
        with log.open("ab") as file:
            popen = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", module] if module else served,
                cwd=self.data,
                env=self._variables()
                | {"HEADRACE_BOOTSTRAP": self.bootstrap, "HEADRACE_DATA": str(self.data)}
                | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return Process(label, popen, log)

    @contextmanager
    def extra(self, role: str, name: str = "", **options: Any) -> Iterator[Process]:
        """`spawn`, ended with the block."""
        process = self.spawn(role, name, **options)
        try:
            yield process
        finally:
            process.stop()

    def _launch(self, options: Sequence[str]) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._up = subprocess.Popen(  # noqa: S603
                # No web console: several installations share the machine, its port is one.
                # On a leash: where the proof is killed, what it started ends too.
                [
                    *(sys.executable, "-I", "-S", leash.__file__, str(STOP_S)),
                    *(*_HEADRACE, "up", "--no-console", "--data", str(self.data), *options),
                ],
                cwd=self.data,  # no headrace.toml of the caller's folder
                env=self._variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # the leash tells the pid there, the rest on stderr
                stderr=log,
                start_new_session=True,
            )

    def _variables(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        return inherited | {"PYTHONPATH": str(_ROOT)} | self._environment


_ROOT: Final = Path(__file__).resolve().parent.parent
_HEADRACE: Final = (sys.executable, "-m", "console.main")
