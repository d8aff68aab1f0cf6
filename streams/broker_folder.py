"""The folder of an embedded broker: whose it is, who holds it, and what lies in it.

broker.json         marks the folder as ours; cluster id and ports, kept between runs
lock                held (flock) by the process that runs the broker and by its Java
data/               Kafka's log directory
server.properties   written anew at each start
broker.log          what Java said; `broker.log.1` is the one before
tmp/                native libraries that Java unpacks
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import orjson
import psutil

from streams.broker_errors import BrokerError

LEAST_FREE_BYTES: Final = 256 * 1_048_576
"""What a start asks of the disk: Kafka stops for good when it cannot write."""
_LOG_BYTES: Final = 16 * 1_048_576
_LEAVING_S: Final = 40.0
"""How long a broker whose parent died may take to go; longer than the leash's patience."""


_FIRST_START: Final = "recovery-point-offset-checkpoint"
_CLEAN_END: Final = ".kafka_cleanshutdown"
"""Files of Kafka's: written from the first start on; written at a clean end, gone at a start."""


def new_cluster_id() -> str:
    """A Kafka cluster id: 16 random bytes in URL-safe base64; no leading dash, as Kafka's own."""
    while True:
        text = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who runs the broker of a folder."""

    pid: int
    created: float
    """Start time of the process, which tells it from a later one with the same pid."""
    bootstrap: str = ""
    """Empty until the broker answers."""
    java: int = 0

    def alive(self) -> bool:
        """Whether that process still runs."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.created) < 1.0
                and process.status() != psutil.STATUS_ZOMBIE
            )
        return False


@dataclass(kw_only=True)
class Identity:
    """What a folder remembers between runs."""

    cluster_id: str = field(default_factory=new_cluster_id)
    port: int = 0
    controller_port: int = 0


class BrokerFolder:
    """One folder; `open` takes it for this process, `close` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.log = self.path / "broker.log"
        self.tmp = self.path / "tmp"
        self.properties = self.path / "server.properties"
        self.lock_fd = -1
        self._marker = self.path / "broker.json"
        self._lock = self.path / "lock"

    def open(self, *, fresh: bool) -> Identity:
        """Take the folder, made or emptied as needed; blocks while a dying broker leaves it.

        Raises BrokerError where it is not ours, not writable, held by a living process, or on
        a disk that is full.
        """
        with self._explained():
            self._check_ours()
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            try:
                return self._furnish(fresh=fresh)
            except BaseException:
                self.close()
                raise

    @property
    def killed(self) -> bool:
        """Whether the broker that wrote the data last did not come to its end."""
        return (self.data / _FIRST_START).exists() and not (self.data / _CLEAN_END).exists()

    def close(self) -> None:
        """Give the folder back; it stays locked until the broker's Java is gone too."""
        if self.lock_fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self.lock_fd, 0)
            os.close(self.lock_fd)
            self.lock_fd = -1

    def remember(self, identity: Identity) -> None:
        """Write what is kept between runs, whole or not at all."""
        with self._explained():
            part = self._marker.with_suffix(".part")
            part.write_bytes(orjson.dumps(asdict(identity)))
            part.replace(self._marker)

    def tell(self, *, bootstrap: str = "", java: int = 0) -> None:
        """Let other processes know who holds the folder and where the broker answers."""
        me = psutil.Process()
        holder = Holder(pid=me.pid, created=me.create_time(), bootstrap=bootstrap, java=java)
        with self._explained():
            os.ftruncate(self.lock_fd, 0)
            os.pwrite(self.lock_fd, orjson.dumps(asdict(holder)), 0)

    def holder(self) -> Holder | None:
        """Who wrote into the lock last, alive or not."""
        try:
            return Holder(**orjson.loads(self._lock.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def tail(self, lines: int = 12) -> str:
        """The last lines of the broker's log."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
            text = file.read().decode("utf-8", "replace")
            return "\n".join(line[:400] for line in text.splitlines()[-lines:])
        return ""

    def _check_ours(self) -> None:
        if not self.path.exists() or self._marker.exists():
            return
        strangers = {file.name for file in self.path.iterdir()} - {self._lock.name}
        if strangers:
            raise BrokerError(
                f"{self.path} holds other files ({', '.join(sorted(strangers)[:3])}) and no "
                f"{self._marker.name}, so it is not a broker's folder; nothing was touched. Name "
                "another folder (HEADRACE_DATA), or move these files away."
            )

    def _take(self) -> None:
        deadline = time.monotonic() + _LEAVING_S
        self.lock_fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self.holder()
                if time.monotonic() < deadline and not (holder and holder.alive()):
                    time.sleep(0.05)  # its parent is gone, so the leash is ending it
                    continue
                os.close(self.lock_fd)
                self.lock_fd = -1
                raise BrokerError(self._held_by(holder)) from None
            else:
                self.tell()
                return

    def _held_by(self, holder: Holder | None) -> str:
        if holder is None:
            return f"The broker of {self.path} is held by a process that does not say who it is."
        where = f", its broker answers at {holder.bootstrap}" if holder.bootstrap else ""
        pid = holder.pid if holder.alive() else holder.java
        return (
            f"The broker of {self.path} is already running: process {pid} holds it{where}. Use "
            f"that one, stop it (Ctrl-C in its terminal, or kill {pid}), or name another folder "
            "(HEADRACE_DATA)."
        )

    def _furnish(self, *, fresh: bool) -> Identity:
        free = shutil.disk_usage(self.path).free
        if free < LEAST_FREE_BYTES:
            raise BrokerError(
                f"The disk of {self.path} is full: {free // 1_048_576} MiB are free and a start "
                f"asks for {LEAST_FREE_BYTES // 1_048_576}. Free some space, or name a folder on "
                "another disk (HEADRACE_DATA)."
            )
        if fresh:
            for made in (self.data, self.log, self.log.with_suffix(".log.1"), self._marker):
                _remove(made)
        _remove(self.tmp)
        self.tmp.mkdir()
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch()
        if not self._marker.exists():
            identity = Identity()
            self.remember(identity)
            return identity
        try:
            return Identity(**orjson.loads(self._marker.read_bytes()))
        except (ValueError, TypeError) as error:
            raise BrokerError(
                f"{self._marker} cannot be read ({error}). Put it back from a copy, or start with "
                "--fresh to begin with an empty broker."
            ) from error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason = "the disk is full: free some space"
            else:
                reason = f"{error.strerror or error}: make it writable"
            raise BrokerError(
                f"The broker's folder {self.path} cannot be used: {reason}, or name another "
                "folder (HEADRACE_DATA)."
            ) from error


def running(path: Path) -> Holder | None:
    """Who runs the broker of this folder, on this machine, now; None where nobody does.

    `bootstrap` of the answer is empty while the broker is still starting.
    """
    holder = BrokerFolder(path).holder()
    return holder if holder is not None and holder.alive() else None


def is_free(port: int) -> bool:
    """Whether a listener could take this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def free_port(other_than: int = 0) -> int:
    """A loopback port that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port != other_than:
            return port


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
