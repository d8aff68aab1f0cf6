"""The leash ends what it holds, whatever happens to the parent or to the leash itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from streams import leash

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def hold(command: list[str], patience_s: float = 10.0) -> tuple[subprocess.Popen[bytes], int]:
    held = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", leash.__file__, str(patience_s), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    return held, int(held.stdout.readline())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def close(held: subprocess.Popen[bytes]) -> None:
    assert held.stdin is not None
    held.stdin.close()


def test_what_is_held_ends_when_the_parent_lets_go() -> None:
    held, pid = hold(["sleep", "600"])
    close(held)
    assert held.wait(60) == 128 + signal.SIGTERM
    assert gone(pid)


def test_what_is_held_ends_when_the_leash_is_asked_to_end() -> None:
    held, pid = hold(["sleep", "600"])
    held.terminate()
    assert held.wait(60) == 128 + signal.SIGTERM
    assert gone(pid)
    close(held)


def test_what_does_not_listen_is_killed_after_the_patience() -> None:
    code = STUBBORN + "print('deaf', flush=True); time.sleep(600)"
    held, pid = hold([sys.executable, "-c", code], patience_s=0.2)
    # Its child says so once it ignores the signal; what it prints goes to standard error.
    assert eventually(lambda: _ignores_sigterm(pid))
    close(held)
    assert held.wait(60) == 128 + signal.SIGKILL
    assert gone(pid)


def test_the_exit_status_is_that_of_what_is_held() -> None:
    held, _ = hold(["sh", "-c", "exit 7"])
    assert held.wait(60) == 7
    close(held)


def test_a_killed_parent_takes_what_it_held_along_though_another_keeps_the_pipe() -> None:
    code = (
        "import os, subprocess, sys\n"
        "held = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], '10', 'sleep', '600'],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(int(held.stdout.readline()), flush=True)\n"
        "heir = os.fork()\n"
        "if heir: print(heir, flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code, leash.__file__], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid, heir = int(parent.stdout.readline()), int(parent.stdout.readline())
    parent.kill()
    parent.wait(60)
    try:
        assert eventually(lambda: gone(pid))
    finally:
        os.kill(heir, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_killed_leash_takes_what_it_held_along() -> None:
    held, pid = hold(["sleep", "600"])
    held.kill()
    held.wait(60)
    assert eventually(lambda: gone(pid))
    close(held)


def _ignores_sigterm(pid: int) -> bool:
    shown = subprocess.run(  # noqa: S603
        [  # noqa: S607
            "ps",
            "-o",
            "ignored=",
            "-p",
            str(pid),
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return bool(shown) and bool(int(shown, 16) & (1 << (signal.SIGTERM - 1)))
