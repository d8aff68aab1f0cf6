"""What runs on this machine for one data folder: `cluster.json` and `services.json`.

`headrace up` writes both, and `prometheus.json`, by which a Prometheus finds the services;
other commands read them to find the embedded broker and to list the services. They hold
while `up.lock` is locked: the system drops that lock when the supervisor ends, however it
ends, so a file left behind by a kill deceives nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Cluster:
    """The embedded broker of a data folder."""

    bootstrap: str
    pid: int


@dataclass(frozen=True, slots=True)
class Service:
    """One service as its supervisor sees it."""

    role: str
    pid: int | None
    state: str
    """`starting`, `running`, `waiting` (for its next start) or `stopped`."""
    restarts: int
    since: str
    last_exit: str
    log: str
    metrics: str = ""
    """Where it serves its metrics; empty: nowhere."""


class AlreadyRunningError(Exception):
    """Another `headrace up` or `headrace demo` holds the data folder."""


class Machine:
    """The state files of one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._cluster = data / "cluster.json"
        self._services = data / "services.json"
        self._targets = data / "prometheus.json"
        self._lock = data / "up.lock"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the data folder: one supervisor at a time.

        Raises:
            AlreadyRunningError: another process owns it.
            OSError: the folder cannot be written.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunningError(
                    f"Headrace already runs in {self.data.absolute()}"
                    + (f" (process {pid})" if (pid := self._pid()) else "")
                    + "; stop that one first with Ctrl-C, or choose another folder with --data"
                ) from error
            self.set_cluster(None)
            self.set_services(None)
            try:
                yield
            finally:
                self.set_cluster(None)
                self.set_services(None)

    def running(self) -> bool:
        """Whether a supervisor owns the folder now."""
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def cluster(self) -> Cluster | None:
        """The embedded broker, if it runs."""
        found = _load(self._cluster)
        try:
            cluster = Cluster(str(found["bootstrap"]), int(found["pid"]))
        except (KeyError, ValueError):
            return None
        return cluster if self.running() else None

    def set_cluster(self, cluster: Cluster | None) -> None:
        """Say where the broker is, or that it is gone."""
        _store(self._cluster, None if cluster is None else asdict(cluster))

    def services(self) -> list[Service]:
        """The services of a running supervisor; empty where none runs."""
        if not self.running():
            return []
        return [Service(**one) for one in _load(self._services).get("services", [])]

    def set_services(self, services: list[Service] | None) -> None:
        """Say what this process supervises, or that it has ended."""
        content = None
        if services is not None:
            content = {"pid": os.getpid(), "services": [asdict(one) for one in services]}
        _store(self._services, content)
        _store(self._targets, None if services is None else _targets(services))

    def _pid(self) -> int | None:
        pid = _load(self._services).get("pid")
        return pid if isinstance(pid, int) else None


def _targets(services: list[Service]) -> list[dict[str, Any]]:
    """What Prometheus' `file_sd_configs` reads, so that it finds the services of this machine."""
    return [
        {"targets": [urlsplit(one.metrics).netloc], "labels": {"role": one.role}}
        for one in services
        if one.metrics
    ]


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _store(path: Path, content: dict[str, Any] | list[dict[str, Any]] | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1))
    new.replace(path)  # a reader sees the old file or the new one, never half of one
