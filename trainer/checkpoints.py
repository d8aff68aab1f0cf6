"""Checkpoints of a run in progress: sealed by digest, so that a damaged one is never resumed.

The weights are safetensors. Optimiser and random state are what transformers writes and
reads back with torch's weights-only loader; the seal also keeps that from reading a file
that this run did not write.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Final

import msgspec

from kernel.artefact import sha256
from trainer.progress import replace_file

log = logging.getLogger(__name__)

SEAL: Final = "sealed.json"


def seal(checkpoint: Path) -> None:
    """Say that `checkpoint` is complete, and what its files hold."""
    replace_file(checkpoint / SEAL, msgspec.json.encode(_digests(checkpoint)))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that is whole; those that are not are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        if _is_whole(checkpoint):
            return checkpoint
        log.warning("%s is damaged or incomplete: training goes on from an older one", checkpoint)
        shutil.rmtree(checkpoint)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        sealed = msgspec.json.decode((checkpoint / SEAL).read_bytes(), type=dict[str, str])
        return _digests(checkpoint) == sealed
    except (OSError, msgspec.DecodeError):
        return False


def _digests(checkpoint: Path) -> dict[str, str]:
    return {
        path.name: sha256(path)
        for path in sorted(checkpoint.iterdir())
        if path.is_file() and path.name != SEAL and not path.name.startswith(".")
    }


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
