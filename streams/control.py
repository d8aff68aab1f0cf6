"""The control channel of a data folder: a Unix socket on which its supervisor takes orders.

One order is one line of JSON, and so is its answer. The socket is its owner's alone (0600),
and the kernel tells who connects: a process of another user is turned away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

log = logging.getLogger(__name__)

NAME: Final = "control.sock"
MOST_INSTANCES: Final = 16
"""Of one service on one machine."""
_ORDER_S: Final = 5.0
_ANSWER_S: Final = 60.0
"""A service that is asked to end may take its time."""
_LINE: Final = 4_096
_PEER: Final = struct.Struct("3i")


class ControlError(Exception):
    """An order that was not carried out; the message says why."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a supervisor shall do to a service, all its instances together."""

    verb: Literal["start", "stop", "restart", "scale"]
    service: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    count: Annotated[int, msgspec.Meta(ge=0, le=MOST_INSTANCES)] = 1
    """Instances that shall run, for `scale`."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    done: bool
    said: str


Carry = Callable[[Order], Awaitable[str]]
"""Carries an order out and says what was done; raises `ControlError` where it is refused."""


async def ask(data: Path, order: Order) -> str:
    """Give an order to the supervisor of a data folder; what it says it did.

    Raises:
        ControlError: no supervisor runs there, or it refuses.
    """
    try:
        with _reached(data) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE)
    except OSError as error:
        raise ControlError(f"nothing runs in {data}; start it with `headrace up`") from error
    try:
        async with asyncio.timeout(_ANSWER_S):
            writer.write(msgspec.json.encode(order) + b"\n")
            await writer.drain()
            line = await reader.readline()
        answer = msgspec.json.decode(line, type=Answer)
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise ControlError("the supervisor ended, or does not answer") from error
    finally:
        writer.close()
    if not answer.done:
        raise ControlError(answer.said)
    return answer.said


@asynccontextmanager
async def serving(data: Path, carry: Carry) -> AsyncIterator[None]:
    """Take orders while the body runs; whoever owns the data folder may serve it."""
    listener = socket.socket(socket.AF_UNIX)
    place = data / NAME
    place.unlink(missing_ok=True)  # left behind by a kill
    before = os.umask(0o177)
    try:
        with _reached(data) as path:
            listener.bind(path)
    except OSError as error:  # some network file systems have no sockets: the services run on
        log.warning("no orders can be taken in %s: %s", data, error)
        listener.close()
        yield
        return
    finally:
        os.umask(before)
    orders: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of its own: an order is carried out although who gave it is ended by it.
        task = asyncio.ensure_future(_take(reader, writer, carry))
        orders.add(task)
        task.add_done_callback(orders.discard)

    server = await asyncio.start_unix_server(take, sock=listener, limit=_LINE)
    try:
        yield
    finally:
        server.close()
        place.unlink(missing_ok=True)
        for task in tuple(orders):
            task.cancel()
        await asyncio.gather(*orders, return_exceptions=True)


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carry: Carry) -> None:
    try:
        if _user(writer) not in {os.getuid(), 0}:
            return
        line = await asyncio.wait_for(reader.readline(), _ORDER_S)
        answer = await _carry(line, carry)
        with suppress(OSError):
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
    except (OSError, TimeoutError, ValueError):
        return  # who asked is gone, or says nothing
    finally:
        writer.close()


async def _carry(line: bytes, carry: Carry) -> Answer:
    try:
        return Answer(done=True, said=await carry(msgspec.json.decode(line, type=Order)))
    except msgspec.DecodeError as error:
        return Answer(done=False, said=f"no order: {error}")
    except ControlError as error:
        return Answer(done=False, said=str(error))


def _user(writer: asyncio.StreamWriter) -> int:
    """Id of the user whose process is at the other end."""
    held = writer.get_extra_info("socket")
    _, user, _ = _PEER.unpack(held.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(user)


@contextmanager
def _reached(data: Path) -> Iterator[str]:
    """A path to the socket that is short enough: a Unix socket's may have 107 bytes."""
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)
