"""The leash: a small process between a parent and its Java, so that Java never outlives the parent.

Run by path (`python leash.py PATIENCE COMMAND…`), with the standard library alone. It starts the
command, writes its pid to standard output, and ends it once its standard input closes, which
the kernel sees to even where the parent is killed. Being asked to end (SIGTERM, SIGINT) does
the same. It leaves with the command's exit status, or 128 + signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_S: Final = 1.0


def _die_with_the_leash() -> None:
    """Linux alone can tie Java to the leash itself, for the case that the leash is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(patience_s: float, command: list[str]) -> int:
    """Hold `command` until it ends or the parent lets go; its exit status."""
    parent = os.getppid()
    java = subprocess.Popen(  # noqa: S603  (the command is the broker's own)
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        close_fds=False,  # the folder's lock goes along: it is free once Java is gone
        preexec_fn=_die_with_the_leash,  # noqa: PLW1509  (no thread runs here yet)
    )
    ended = threading.Event()

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            java.terminate()
        if not ended.wait(patience_s):
            java.kill()

    def watch() -> None:
        # The look at the parent's pid covers a child that inherited the pipe and keeps it open.
        while os.getppid() == parent:
            if select.select([0], [], [], _LOOK_S)[0] and not os.read(0, 1):
                break
        end()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{java.pid}\n".encode())
    threading.Thread(target=watch, daemon=True).start()
    status = java.wait()
    ended.set()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
