"""A TCP proxy before the brokers that can cut, delay, or fall silent while staying connected.

A Kafka client connects to the address that the broker's metadata names, which is
not the proxy's. The proxy therefore reads the broker's answers frame by frame (four
bytes of length, then the frame) and writes its own port where the broker names its
own address. Host and port have a fixed length in that place, so no frame changes
its size, and the broker needs no listener of its own for the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self

Toxic = Literal["none", "cut", "delay", "half-open"]

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 65_536
_LENGTH: Final = 4


class Proxy:
    """Listens on a free loopback port for each broker of `bootstrap`, and forwards to it.

    A broker may go away and come back: each connection connects anew.
    """

    def __init__(self, bootstrap: str) -> None:
        self._ports = [int(one.rpartition(":")[2]) for one in bootstrap.split(",")]
        self._servers: list[asyncio.Server] = []
        self._shown: dict[bytes, bytes] = {}
        """By the address of a broker, the one that takes its place in answers."""
        self._links: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self.bootstrap = ""
        """Addresses of the proxy, once started."""

    async def __aenter__(self) -> Self:
        listening = []
        for real in self._ports:
            server = await asyncio.start_server(partial(self._serve, real), _HOST, 0)
            port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
            self._shown[_address(real)] = _address(port)
            listening.append(f"{_HOST}:{port}")
        self.bootstrap = ",".join(listening)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
        self._drop()
        await asyncio.gather(*self._links, return_exceptions=True)

    def set(self, toxic: Toxic, delay_s: float = 0.0) -> None:
        """Behave so from now on.

        `cut` resets every connection and refuses new ones. `delay` holds every
        chunk back for `delay_s`, in both directions. `half-open` keeps connections,
        accepts new ones, and forwards nothing: what was sent arrives once it ends.
        """
        self._delay_s = delay_s if toxic == "delay" else 0.0
        self._refusing = toxic == "cut"
        if self._refusing:
            self._drop()
        if toxic == "half-open":
            self._flowing.clear()
        else:
            self._flowing.set()

    def _drop(self) -> None:
        for link in self._links:
            link.cancel()

    async def _serve(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        link = asyncio.current_task()
        assert link is not None  # noqa: S101
        self._links.add(link)
        try:
            if not self._refusing:
                await self._link(port, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side went away, or a cut
        finally:
            self._links.discard(link)
            writer.transport.abort()

    async def _link(
        self, port: int, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        broker, forth = await asyncio.open_connection(_HOST, port)
        try:
            ways = {
                asyncio.create_task(self._forward(client, forth)),
                asyncio.create_task(self._answer(broker, back)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            forth.transport.abort()

    async def _forward(self, client: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        while chunk := await client.read(_CHUNK):
            await self._pass(forth, chunk)

    async def _answer(self, broker: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while True:
            length = await broker.readexactly(_LENGTH)
            frame = await broker.readexactly(int.from_bytes(length, "big"))
            for real, shown in self._shown.items():
                frame = frame.replace(real, shown)
            await self._pass(back, length + frame)

    async def _pass(self, to: asyncio.StreamWriter, chunk: bytes) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._flowing.wait()
        to.write(chunk)
        with contextlib.suppress(ConnectionResetError):
            await to.drain()


def _address(port: int) -> bytes:
    """How host and port stand in an answer: text, then a 32-bit number."""
    return _HOST.encode() + port.to_bytes(4, "big")
