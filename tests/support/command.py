"""The command line as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streams.settings import Settings

COMMAND = [sys.executable, "-m", "console.main"]


@dataclass(frozen=True)
class Result:
    """What a command left."""

    code: int
    out: str
    err: str

    def lines(self) -> list[Any]:
        """Standard output as JSON Lines."""
        return [orjson.loads(line) for line in self.out.splitlines()]


def environment() -> dict[str, str]:
    """Nobody's settings, and this repository's packages wherever the command runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | {"COLUMNS": "120", "NO_COLOR": "1", "PYTHONPATH": str(Path.cwd())}


def headrace(*arguments: str, stdin: bytes = b"", within_s: float = 60.0) -> Result:
    """Run `headrace` with these arguments."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(),
        timeout=within_s,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class Console:
    """`headrace` on one cluster."""

    def __init__(self, settings: Settings) -> None:
        self._options = ["--bootstrap", settings.bootstrap, "--data", str(settings.data)]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        return headrace(*arguments, *self._options, stdin=stdin)
