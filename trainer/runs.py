"""Runs: what each training did, kept in DATA/runs.

A killed run goes on from here, and any run can be made again from its record.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from kernel.artefact import sha256
from schemas.events import Timestamp
from schemas.tasks import Task
from trainer.dataset import Dataset
from trainer.errors import TrainerError
from trainer.gate import Verdict
from trainer.labels import Range
from trainer.metrics import Report
from trainer.progress import replace_file
from trainer.recipe import Recipe

RECORD: Final = "run.json"
DATASET: Final = "dataset.json"
OUTCOME: Final = "outcome.json"
LOCK: Final = "lock"
CURRENT: Final = "current.json"
COMPARED: Final = ("accuracy", "macro_f1")
"""Figures that a run keeps, and that a rerun must come to."""


class Source(msgspec.Struct, frozen=True):
    """A file of rows."""

    path: str
    sha256: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run: enough to make it again."""

    version: str
    task: Task
    recipe: Recipe
    ranges: list[Range]
    """The dataset: these offsets of labels.examples, and the rules of `trainer.dataset`."""
    since: dict[str, int]
    """The group's committed offset by partition when the run began: who moves it ends the run."""
    began_at: Timestamp
    state: Literal["training", "published", "done", "failed"] = "training"
    reason: str = ""
    verdict: Verdict | None = None
    sources: list[Source] = []
    """Files instead of ranges: to learn from and, where there is a second one, to judge by."""
    minutes: float | None = None
    """The limit of time, if there was one."""
    metrics: dict[str, float] = {}
    """What it came to, on the held-back rows."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the training process left: an artefact's digest and report, or an error."""

    digest: str = ""
    report: Report | None = None
    error: str = ""
    lasting: bool = False


def folder(data: Path) -> Path:
    """Where runs lie."""
    return data.absolute() / "runs"


def begin(
    data: Path, task: Task, recipe: Recipe, ranges: list[Range], since: dict[str, int]
) -> Run:
    """A new run under a version name that sorts by time and that no other trainer can choose."""
    now = datetime.now(UTC)
    run = Run(
        version=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        task=task,
        recipe=recipe,
        ranges=ranges,
        since=since,
        began_at=now,
    )
    save(data, run)
    return run


def save(data: Path, run: Run) -> None:
    """Write the record.

    Raises:
        TrainerError: the folder cannot be written.
    """
    path = folder(data) / run.version / RECORD
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(run)))
    except OSError as error:
        raise TrainerError(f"{path} cannot be written: {error}; free space on that disk") from error


def remember_files(
    path: Path,
    task: Task,
    recipe: Recipe,
    report: Report,
    *,
    sources: list[Path],
    minutes: float | None,
) -> None:
    """Write the record of a run that has ended: on files to learn from and, if any, to judge by."""
    run = Run(
        version=report.version,
        task=task,
        recipe=recipe,
        ranges=[],
        since={},
        minutes=minutes,
        began_at=datetime.now(UTC),
        state="done",
        sources=[Source(str(one.absolute()), sha256(one)) for one in sources],
        metrics={name: getattr(report, name) for name in COMPARED},
    )
    replace_file(path / RECORD, msgspec.json.format(msgspec.json.encode(run)))


def unfinished(data: Path, task: str, since: dict[str, int]) -> Run | None:
    """The newest run of `task` that a kill left behind and that nobody works on.

    A run that began at other committed offsets was overtaken: its labels are in a later one.
    """
    for path in sorted(folder(data).glob(f"*/{RECORD}"), reverse=True):
        try:
            run = msgspec.json.decode(path.read_bytes(), type=Run)
        except (OSError, msgspec.DecodeError):
            continue  # a record of another release; its artefact is in the store
        if run.task.name != task or run.state in {"done", "failed"}:
            continue
        if run.since == since and not _is_locked(path.parent):
            return run
    return None


def load(path: Path) -> Run:
    """The run whose record lies in the folder `path`."""
    return msgspec.json.decode((path / RECORD).read_bytes(), type=Run)


def save_dataset(path: Path, dataset: Dataset) -> None:
    """Keep the rows beside the record until the run is finished."""
    replace_file(path / DATASET, msgspec.json.encode(dataset))


def load_dataset(path: Path) -> Dataset:
    """The rows that `save_dataset` kept."""
    return msgspec.json.decode((path / DATASET).read_bytes(), type=Dataset)


def outcome(path: Path) -> Outcome | None:
    """What the training process left, or None where it has not ended by itself."""
    try:
        return msgspec.json.decode((path / OUTCOME).read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError):
        return None


def tidy(path: Path) -> None:
    """Drop what a finished run no longer needs: the store has the artefact."""
    for name in ("artefact", "checkpoints"):
        shutil.rmtree(path / name, ignore_errors=True)
    (path / DATASET).unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the run in `path` for this process, until it ends in whatever way.

    Raises:
        TrainerError: another process works on it.
    """
    handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TrainerError(f"another trainer works on {path}; this one begins anew") from error
    finally:
        os.close(handle)


def _is_locked(path: Path) -> bool:
    try:
        with locked(path):
            return False
    except TrainerError:
        return True
