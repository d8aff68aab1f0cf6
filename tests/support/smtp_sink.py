"""A mail server that keeps what it is given, and refuses as it is told. RFC 5321, the part used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Sink:
    """What it was told; `greetings` and `answers` are the replies to come, then all is well."""

    port: int = 0
    mails: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    greetings: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """Replies to the end of the data; `drop` closes the connection instead."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say(self.greetings.pop(0) if self.greetings else "220 sink")
        try:
            while line := await reader.readline():
                verb = line.decode().split()[0].upper() if line.strip() else ""
                if verb == "RCPT":
                    self.recipients.append(line.decode().strip())
                if verb == "DATA":
                    say("354 go on")
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    answer = self.answers.pop(0) if self.answers else "250 kept"
                    if answer == "drop":
                        return
                    say(answer)
                elif verb == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 sink")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def mail_server() -> AsyncIterator[Sink]:
    """A sink on a free port of the loopback address."""
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
