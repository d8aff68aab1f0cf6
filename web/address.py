"""Where the console listens, and the link that opens it; light enough for the command line."""

from __future__ import annotations

import errno
import socket
from typing import Final

from streams.settings import Settings
from web.access import Access, folder, is_loopback, may_listen

_ADDRESS: Final = "address"


class ListenError(Exception):
    """The console cannot listen on its address; the message says what to do."""


def address(settings: Settings, secret: str = "") -> str:
    """Where the console is, for a browser on this machine; with a secret, the one-time link."""
    host = settings.console_host
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  (it is compared)
    shown = f"[{name}]" if ":" in name else name
    base = f"http://{shown}:{settings.console_port}"
    return f"{base}/open?token={secret}" if secret else f"{base}/"


def announce(settings: Settings) -> None:
    """Remember where the console listens, for the commands that print a link."""
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    (place / _ADDRESS).write_text(f"{settings.console_host}\n{settings.console_port}\n")


def announced(settings: Settings) -> Settings:
    """The settings with the address at which the console of this data folder listens."""
    try:
        host, port = (folder(settings) / _ADDRESS).read_text().split()
        return settings.model_copy(update={"console_host": host, "console_port": int(port)})
    except (OSError, ValueError):
        return settings


def link(settings: Settings) -> str:
    """What a person opens: the one-time link while nobody has a password, else the address."""
    access = Access(folder(settings))
    if access.has_password() or not is_loopback(settings.console_host):
        return address(settings)
    return address(settings, access.invite())


def listen(settings: Settings) -> socket.socket:
    """A socket bound to the console's address.

    Raises:
        AccessError: others could reach it and nobody has a password.
        ListenError: the address cannot be had.
    """
    host, port = settings.console_host, settings.console_port
    may_listen(Access(folder(settings)), host)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"port {port} of {host} is taken: choose another with --console-port, or do "
                "without the web console with --no-console"
            ) from error
        raise ListenError(
            f"the web console cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    return listener
