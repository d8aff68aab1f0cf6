"""What a failed command says and returns: one line that tells what to do, and an exit code.

The table is documented in docs/cli.md.
"""

from __future__ import annotations

import errno
import re
import tempfile
import traceback
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from console import output

if TYPE_CHECKING:
    from console.scope import Scope


class Exit(IntEnum):
    """Exit codes of `headrace`."""

    DONE = 0
    BUG = 1
    USAGE = 2
    FILE = 3
    CLUSTER = 4
    PARTLY = 5
    NOT_FOUND = 6
    RUNNING = 7
    MODEL = 8
    REFUSED = 9
    INTERRUPTED = 130


class Failure(Exception):  # noqa: N818  (what a command ends with, not a fault of the program)
    """A command that ends with a message and an exit code of its own."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


# By name, so that saying what went wrong imports nothing that the command did not need.
_BY_NAME: dict[str, tuple[Exit, str]] = {
    "NoClusterError": (Exit.CLUSTER, ""),
    "AccessError": (Exit.REFUSED, ""),
    "ListenError": (Exit.RUNNING, ""),
    "NotifyError": (Exit.USAGE, ""),
    "StalledError": (Exit.CLUSTER, ""),
    "UnknownTopicError": (Exit.NOT_FOUND, ""),
    "AlreadyRunningError": (Exit.RUNNING, ""),
    "BrokerError": (Exit.CLUSTER, ""),
    "TopicRefused": (Exit.REFUSED, ""),
    "RepartitionRefused": (Exit.REFUSED, ""),
    "InputError": (Exit.FILE, ""),
    "UnknownVersionError": (Exit.NOT_FOUND, ""),
    "OffsetRangeError": (Exit.NOT_FOUND, ""),
    "NothingToCompareError": (Exit.NOT_FOUND, ""),
    "CoverageError": (Exit.REFUSED, ""),
    "ArtefactError": (Exit.MODEL, ""),
    "DriverError": (Exit.MODEL, ""),
    "RegistryError": (Exit.MODEL, ""),
    "TrainerError": (Exit.MODEL, ""),
    "SettingsError": (Exit.USAGE, "setting"),
    "TOMLDecodeError": (Exit.USAGE, "headrace.toml"),
    "SSLError": (Exit.CLUSTER, "TLS; check HEADRACE_TLS_CA and HEADRACE_SECURITY_PROTOCOL"),
}
_KAFKA: dict[str, str] = {
    "KafkaConnectionError": "no cluster can be reached there: check the address (--bootstrap or "
    "HEADRACE_BOOTSTRAP), that the cluster runs, and where it is secured "
    "HEADRACE_SECURITY_PROTOCOL, HEADRACE_TLS_CA, HEADRACE_SASL_USERNAME, HEADRACE_SASL_PASSWORD",
    "AuthenticationFailedError": "check HEADRACE_SASL_USERNAME and HEADRACE_SASL_PASSWORD",
    "SaslAuthenticationFailed": "check HEADRACE_SASL_USERNAME and HEADRACE_SASL_PASSWORD",
    "TopicAuthorizationFailedError": "the user may not use this topic: ask for the ACL",
    "GroupAuthorizationFailedError": "the user may not use this group: ask for the ACL",
    "KafkaTimeoutError": "the cluster did not answer in time: see `headrace doctor`",
    "ProducerFenced": "another run of the same command took over; run it again if needed",
    "MessageSizeTooLargeError": "the record is larger than its topic takes",
}


def explain(error: BaseException) -> tuple[Exit, str] | None:
    """Exit code and message of a known error (of a group: its first); None for a bug."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    names = [kind.__name__ for kind in type(error).__mro__]
    message = " ".join(str(error).split()) or names[0]
    known: tuple[Exit, str] | None = None
    if isinstance(error, Failure):
        known = error.code, message
    elif "ValidationError" in names and hasattr(error, "errors"):
        known = Exit.USAGE, _settings(error)
    elif found := next((_BY_NAME[name] for name in names if name in _BY_NAME), None):
        code, what = found
        known = code, f"{what}: {message}" if what else message
    elif "KafkaError" in names:
        advice = next((_KAFKA[name] for name in names if name in _KAFKA), "see `headrace doctor`")
        # An address stands in the client's messages as the tuple that its socket takes.
        plain = re.sub(r"\[?\('([^']+)', (\d+), <[^>]*>\)\]?", r"\1:\2", message)
        known = Exit.CLUSTER, f"{plain}; {advice}"
    elif isinstance(error, OSError):
        known = Exit.FILE, _file(error, message)
    return known


def _settings(error: BaseException) -> str:
    found = error.errors() if hasattr(error, "errors") else []
    parts = [
        f"setting {'.'.join(str(step) for step in one['loc'])}: {one['msg'].lower()}"
        for one in found
    ]
    return "; ".join(parts) + "; see HEADRACE_* variables, headrace.toml and the options"


_FILE: dict[int, str] = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder with --data",
    errno.EACCES: "not allowed: check the permissions or choose another folder with --data",
    errno.EPERM: "not allowed: check the permissions or choose another folder with --data",
    errno.EROFS: "cannot be written: choose another folder with --data",
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "a part of the path is a file and no folder",
    errno.EISDIR: "is a folder; name a file",
}


def _file(error: OSError, message: str) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{_FILE[error.errno]}" if error.errno in _FILE else message


def report(error: BaseException, scope: Scope) -> Exit:
    """Say what went wrong on standard error; the exit code to end with."""
    known = explain(error)
    out = output.errors()
    if scope.debug:
        out.print("".join(traceback.format_exception(error)), markup=False)
    if known is not None:
        code, message = known
        out.print(f"[bold red]error:[/] {_plain(message)}")
        return code
    log = _keep(error)
    out.print(
        f"[bold red]unexpected error:[/] {_plain(type(error).__name__)}: {_plain(str(error))}\n"
        f"This is a bug of Headrace. The traceback is in {_plain(str(log))}; "
        "--debug shows it here."
    )
    return Exit.BUG


def _plain(message: str) -> str:
    from rich.markup import escape

    return escape(message)


def _keep(error: BaseException) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", prefix="headrace-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
        return Path(file.name)
