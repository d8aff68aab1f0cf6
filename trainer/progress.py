"""How far a run is: a small JSON file that anybody may read at any time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

Phase = Literal["loading", "training", "exporting", "judging", "done", "failed"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the latest run; `step` of `of` counts optimiser steps."""

    version: str
    task: str
    phase: Phase
    step: int = 0
    of: int = 0
    loss: float | None = None
    eta_s: float | None = None
    """Seconds until training ends, at the speed so far."""
    message: str = ""
    at: float = 0.0
    """Seconds since 1970 when this was written."""


class Progress:
    """Writes the status of one run to `path`, whole or not at all."""

    def __init__(self, path: Path, version: str, task: str) -> None:
        self._path = path
        self._version = version
        self._task = task

    def say(
        self,
        phase: Phase,
        *,
        step: int = 0,
        of: int = 0,
        loss: float | None = None,
        eta_s: float | None = None,
        message: str = "",
    ) -> None:
        """Replace the status."""
        status = Status(
            version=self._version,
            task=self._task,
            phase=phase,
            step=step,
            of=of,
            loss=loss,
            eta_s=eta_s,
            message=message,
            at=time.time(),
        )
        replace_file(self._path, msgspec.json.encode(status))


def read(path: Path) -> Status | None:
    """The status at `path`; None where no run has begun."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
