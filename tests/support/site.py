"""Services as processes of their own, and the web console among them, for tests and pictures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from streams.settings import Settings
from web.access import Access, folder

_READY_S = 60.0


@contextmanager
def service(settings: Settings, *role: str) -> Iterator[subprocess.Popen[bytes]]:
    """`headrace serve ROLE` until the body ends."""
    environment = os.environ | {
        "HEADRACE_BOOTSTRAP": settings.bootstrap,
        "HEADRACE_DATA": str(settings.data),
        "HEADRACE_CONSOLE_PORT": str(settings.console_port),
    }
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "console.main", "serve", *role], env=environment
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The web console; yields its address once it has read the topics."""
    base = f"http://127.0.0.1:{settings.console_port}"
    token = Access(folder(settings)).make_token("waiting", "viewer")
    with service(settings, "console") as process:
        wait_until_read(base, token, process)
        yield base


def wait_until_read(base: str, token: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the console answers and has read all that is on the topics."""
    deadline = time.monotonic() + _READY_S
    headers = {"authorization": f"Bearer {token}"}
    while time.monotonic() < deadline:
        assert process.poll() is None, "the console ended"
        try:
            status = httpx.get(f"{base}/v1/status", headers=headers).json()
            if status["reader"]["caught_up"]:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the console is not ready after {_READY_S:.0f} s")


def session(settings: Settings) -> str:
    """A session as operator, by the one-time link."""
    access = Access(folder(settings))
    return access.accept(access.invite())
