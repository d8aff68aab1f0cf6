"""An environment for each peer, made by uv from pinned requirements when first needed."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from proof.bench.peer_catalogue import SCRIPTS
from proof.bench.stand import Say

INSTALL_S: Final = 1_800.0
"""PyTorch is fetched for two of them."""
_READY: Final = "headrace-ready"


class InstallError(Exception):
    """An environment that could not be made; the message holds what uv said."""


def python(name: str, folder: Path, say: Say) -> Path:
    """The interpreter of the environment for `requirements/NAME.txt`, made under `folder` once.

    The folder's name holds a digest of the pins, so that other pins make another one.

    Raises:
        InstallError: uv is missing, or a package cannot be installed.
    """
    pins = SCRIPTS / "requirements" / f"{name}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:10]
    home = folder.absolute() / f"{name}-{version}-{digest}"
    found = home / "bin" / "python"
    if not (home / _READY).exists():
        uv = _uv()
        say(f"installing the environment of {name} into {home}, once")
        began = time.monotonic()
        shutil.rmtree(home, ignore_errors=True)
        _run(name, [*uv, "venv", "--quiet", "--python", sys.executable, str(home)])
        install = ("pip", "install", "--quiet", "--python", str(found), "--requirements", str(pins))
        _run(name, [*uv, *install])
        (home / _READY).touch()
        say(f"installed {name} in {time.monotonic() - began:.0f} s")
    return found


def _uv() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    if found is None:
        raise InstallError("peers are installed by uv, which is not there: pip install uv")
    return [found]


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    if done.returncode != 0:
        raise InstallError(
            f"the environment of {name} cannot be installed; uv said:\n{done.stderr[-2_000:]}"
        )
