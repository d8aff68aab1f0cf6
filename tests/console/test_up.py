"""`headrace up` owns its folder, serves other commands from it, and ends cleanly on Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from streams.broker_folder import free_port
from streams.machine import Machine, Service
from tests.support.command import COMMAND, environment, headrace

DEADLINE_S = 180.0


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, "headrace up ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [*COMMAND, "up", "--data", str(tmp_path / "data"), "--console-port", str(free_port())],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _serves_metrics(service: Service) -> bool:
    try:
        with urllib.request.urlopen(service.metrics, timeout=5) as answer:  # noqa: S310  (ours)
            return f'headrace_build_info{{service="{service.role}"' in answer.read().decode()
    except OSError:
        return False


def test_up_runs_everything_once_and_ctrl_c_ends_services_first_and_the_broker_last(
    up: subprocess.Popen[str], tmp_path: Path
) -> None:
    data = ["--data", str(tmp_path / "data")]
    machine = Machine(tmp_path / "data")
    roles = {
        "kernel",
        "relay",
        "finance.reader",
        "finance.trends",
        "finance.alerts",
        "rollout",
        "trainer",
        "console",
    }
    until(lambda: {one.role for one in machine.services() if one.state == "running"} == roles, up)
    relay = tmp_path / "data" / "logs" / "relay.log"
    until(lambda: "lane" in relay.read_text(), up)
    until(lambda: all(_serves_metrics(one) for one in machine.services()), up)
    listed = headrace("ps", "--json", *data).lines()
    targets = json.loads((tmp_path / "data" / "prometheus.json").read_text())
    assert {one["metrics"] for one in listed} == {
        f"http://{found}/metrics" for one in targets for found in one["targets"]
    }

    second = headrace("up", *data)
    assert second.code == 7
    assert f"process {up.pid}" in second.err
    assert "--data" in second.err

    published = headrace("publish", "-", *data, stdin=b'{"id": "one", "text": "hello"}\n')
    assert published.code == 0, "a command finds the running broker by the folder"
    (line,) = headrace("read", "feed.events", "--until-end", "--jsonl", *data).lines()
    assert line["value"]["text"] == "hello"
    states = {one["topic"]: one for one in headrace("topics", "list", "--json", *data).lines()}
    assert states["feed.events"]["latest"] == 1

    cluster = machine.cluster()
    assert cluster is not None
    pids = [one.pid for one in machine.services() if one.pid] + [cluster.pid]
    up.send_signal(signal.SIGINT)
    said, _ = up.communicate(timeout=60)
    assert up.returncode == 0, said
    assert said.splitlines()[-1] == "stopped"
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not machine.running()
    assert relay.read_text().splitlines()[-1].endswith("console.serve: ended"), (
        "it ended by itself while the broker was there"
    )
