"""Two processes train one model, and go on where both were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kernel import artefact
from tests.support.tiny_backbone import tiny_backbone
from tests.trainer.test_parts import labelled
from trainer import checkpoints

WITHIN_S = 200


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    backbone = tiny_backbone(tmp_path / "backbone")
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        f'backbone = "{backbone}"\nmax_steps = 60\nbatch_size = 8\nlearning_rate = 2e-3\n'
        "head_learning_rate = 1e-2\nmax_tokens = 32\nheld_back = 0.25\ncheckpoint_steps = 10\n"
        'mixed_precision = "off"\n[options.ema]\ndecay = 0.9\n'
    )
    data = labelled(tmp_path / "rows.csv")
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "console.main", "train", "--task", "intents", "--data", str(data)),
        *("--out", str(tmp_path / "model"), "--recipe", str(recipe), "--json"),
    ]


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        _kill(process)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    return subprocess.Popen(  # noqa: S603  (our own module)
        command, stdout=subprocess.PIPE, env=one_thread
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Torchrun and what it started: its workers have sessions of their own."""
    if process.poll() is None:
        for worker in psutil.Process(process.pid).children(recursive=True):
            worker.kill()
        process.kill()
        process.wait()


def test_two_processes_train_one_model_and_go_on_after_a_kill(
    command: list[str], tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    first = _start(command)
    processes.append(first)
    sealed = tmp_path / "model.run" / "checkpoints" / "checkpoint-10" / checkpoints.SEAL
    deadline = time.monotonic() + WITHIN_S
    while not sealed.exists() and first.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)
    assert first.poll() is None, "it ended before it could be killed"
    _kill(first)
    assert not (tmp_path / "model").exists()

    second = _start(command)
    processes.append(second)
    said, _ = second.communicate(timeout=WITHIN_S)
    assert second.returncode == 0
    assert said.count(b'"accuracy"') == 1, "one process reports"
    assert "resumed at step" in (tmp_path / "model" / "card.md").read_text()
    assert artefact.read(tmp_path / "model").metrics["accuracy"] > 0.9
