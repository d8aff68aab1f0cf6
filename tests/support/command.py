"""The command line as a user runs it: its output and its exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from console.main import run
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


def process(*arguments: str, stdin: bytes = b"", within_s: float = 60.0) -> Result:
    """Run `headrace` with these arguments in a process of its own."""
    done = subprocess.run(  # noqa: S603  (our own command)
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(),
        timeout=within_s,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def headrace(*arguments: str, stdin: bytes = b"") -> Result:
    """Run `headrace` in this process: what it imports is imported once for all tests."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    try:
        with (
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            patch.dict(os.environ, environment(), clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(list(arguments))
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    return Result(int(code), out.getvalue(), err.getvalue())


class Console:
    """`headrace` on one cluster."""

    def __init__(self, settings: Settings) -> None:
        self._options = ["--bootstrap", settings.bootstrap, "--data", str(settings.data)]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        return headrace(*arguments, *self._options, stdin=stdin)
