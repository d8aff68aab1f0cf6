"""A small disk that can be filled for real: a tmpfs, where this process may mount one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FILLER: Final = "filler"
_CHUNK: Final = 65_536


class NoMountError(Exception):
    """This process may not mount a disk; the message says why."""


class SmallDisk:
    """A disk of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take all the space that is left."""
        with (self.path / _FILLER).open("ab", buffering=0) as file:
            size = _CHUNK
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """Give that space back."""
        (self.path / _FILLER).unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one at `path`, a folder that is made, until the end of the block.

    Raises NoMountError where that is not allowed.
    """
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=0700,uid={os.getuid()}"
    _run("mount", "-t", "tmpfs", "-o", options, "headrace-chaos", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))  # whoever still has a file open keeps it


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise NoMountError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoMountError(done.stderr.strip() or f"{command[0]} failed")
