"""The training process and what it leaves: killed, damaged, or right."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from kernel import artefact
from schemas.tasks import SENTIMENT
from tests.support.easy_labels import easy_rows
from trainer import checkpoints, dataset, recipe_files, runs
from trainer.errors import RefusedError
from trainer.fit import fit
from trainer.progress import Progress

WITHIN_S = 200


@pytest.fixture
def run_folder(tmp_path: Path, quick_recipe: Path) -> Path:
    """A run that has its rows and has not begun to train."""
    chosen = recipe_files.load(str(quick_recipe))
    run = runs.begin(tmp_path, SENTIMENT, chosen, [], {"0": 0})
    folder = runs.folder(tmp_path) / run.version
    runs.save_dataset(folder, dataset.build(easy_rows(), SENTIMENT, chosen.held_back))
    return folder


def start(folder: Path, file_limit: int | None = None) -> subprocess.Popen[bytes]:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.Popen(  # noqa: S603  (our own module)
        [sys.executable, "-m", "trainer.child", str(folder)],
        stdin=subprocess.PIPE,
        preexec_fn=limit,  # noqa: PLW1509  (no thread runs here)
    )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_a_killed_training_goes_on_from_its_last_whole_checkpoint(
    run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    first = start(run_folder)
    processes.append(first)
    wait_for(run_folder / "checkpoints" / "checkpoint-16" / checkpoints.SEAL)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert runs.outcome(run_folder) is None
    for newer in (16, 24):  # the newest is damaged as well: the one before must do
        weights = run_folder / "checkpoints" / f"checkpoint-{newer}" / "model.safetensors"
        if weights.exists():
            os.truncate(weights, 1_000)

    second = start(run_folder)
    processes.append(second)
    assert second.wait(WITHIN_S) == 0
    outcome = runs.outcome(run_folder)
    assert outcome is not None
    assert outcome.error == ""
    assert "resumed at step 8" in (run_folder / "artefact" / "card.md").read_text()
    assert artefact.sha256(run_folder / "artefact" / artefact.MANIFEST) == outcome.digest
    assert outcome.report is not None
    assert outcome.report.accuracy > 0.8


def test_a_full_disk_is_said_and_does_not_end_the_run(
    run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    # No file may grow beyond a megabyte: what a full disk looks like to a process.
    child = start(run_folder, file_limit=1_000_000)
    processes.append(child)
    assert child.wait(WITHIN_S) == 0
    outcome = runs.outcome(run_folder)
    assert outcome is not None
    assert "free disk space" in outcome.error
    assert not outcome.lasting
    assert runs.unfinished(run_folder.parent.parent, "sentiment", {"0": 0}) is not None


def test_a_loss_that_is_no_number_ends_the_run_with_what_to_change(
    tmp_path: Path, quick_recipe: Path
) -> None:
    # Steps of this size throw the weights out of what a float can hold.
    wild = msgspec.structs.replace(
        recipe_files.load(str(quick_recipe)),
        learning_rate=1e30,
        head_learning_rate=1e30,
        warmup=0.0,
    )
    rows = dataset.build(easy_rows(), SENTIMENT, wild.held_back)
    with pytest.raises(RefusedError, match="lower learning_rate"):
        fit(
            rows.train,
            SENTIMENT,
            wild,
            folder=tmp_path / "checkpoints",
            progress=Progress(tmp_path / runs.CURRENT, "v", "sentiment"),
        )


def test_the_training_process_ends_with_its_parent(
    run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    child = start(run_folder)
    processes.append(child)
    wait_for(run_folder.parent / runs.CURRENT)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == 1


def test_two_processes_never_train_the_same_run(
    run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    with runs.locked(run_folder):
        assert runs.unfinished(run_folder.parent.parent, "sentiment", {"0": 0}) is None
        child = start(run_folder)
        processes.append(child)
        assert child.wait(60) == 0
    outcome = runs.outcome(run_folder)
    assert outcome is not None
    assert "another trainer works on" in outcome.error
    assert not outcome.lasting


def test_a_run_is_resumed_only_from_the_offsets_that_it_began_at(
    run_folder: Path, quick_recipe: Path
) -> None:
    data = run_folder.parent.parent
    assert runs.unfinished(data, "sentiment", {"0": 7}) is None
    found = runs.unfinished(data, "sentiment", {"0": 0})
    assert found is not None
    assert found.recipe == recipe_files.load(str(quick_recipe))
    runs.save(data, msgspec.structs.replace(found, state="done"))
    assert runs.unfinished(data, "sentiment", {"0": 0}) is None


def test_version_names_sort_by_time_and_never_collide(tmp_path: Path, quick_recipe: Path) -> None:
    chosen = recipe_files.load(str(quick_recipe))
    names = [runs.begin(tmp_path, SENTIMENT, chosen, [], {}).version for _ in range(20)]
    assert len(set(names)) == 20
    assert all(name[:8].isdigit() and name < f"{datetime.now(UTC):%Y}~" for name in names)


def test_a_checkpoint_that_is_damaged_or_unsealed_is_removed(tmp_path: Path) -> None:
    for step in (10, 20, 30, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"w" * step)
        if step != 100:
            checkpoints.seal(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-30" / "model.safetensors").write_bytes(b"other")
    (tmp_path / "checkpoint-20" / "optimizer.pt").write_bytes(b"not of this run")
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10"]
