"""Agents as processes of their own, as the supervisor starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.settings import Settings

Start = Callable[..., subprocess.Popen[bytes]]

_RUN = """
import logging, sys
logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s")
from streams.settings import Settings
name, settings = sys.argv[1], Settings()
if name == "relay":
    from streams.relay import run
    run(settings)
elif name == "test.stubborn":
    from agents.runtime.worker import serve
    import os
    if "SLOW_STATES" in os.environ:
        from tests.agents.stubborn import slow_states
        slow_states(float(os.environ["SLOW_STATES"]))
    from streams.running import run_service
    from tests.agents.stubborn import Stubborn
    run_service(lambda: serve(settings, Stubborn()))
else:
    from agents.service import run
    run(settings, name)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service on a cluster; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(settings: Settings, name: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{name}-{len(running)}.log").open("wb")
        process = subprocess.Popen(  # noqa: S603  (our own code)
            [sys.executable, "-c", _RUN, name],
            env=os.environ
            | {
                "HEADRACE_DATA": str(settings.data),
                "HEADRACE_BOOTSTRAP": settings.bootstrap,
                **environment,
            },
            stdout=log,
            stderr=log,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(10)
