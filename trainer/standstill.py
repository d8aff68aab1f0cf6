"""Whether the working trainer gets on, for the watchdog: a run may compute for hours."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import psutil

from schemas.ids import group_id
from schemas.topics import LABELS
from streams.settings import Settings
from streams.watchdog import Work, behind
from trainer import progress, runs

if TYPE_CHECKING:
    from trainer.term import Term

PATIENCE: Final = 4
"""Times a service's standstill: between two tries of what failed lies a minute."""
_CPU_S: Final = 10
"""So much computing is progress; polling the brokers comes nowhere near it in that time."""


async def work(settings: Settings, service: str, term: Term | None) -> Work | None:
    """What the term has not done yet; nothing where it waits for more labels or for its seat."""
    if term is None:
        return {}
    found = await behind(settings, group_id(service), [LABELS.name])
    if found is None:
        return None
    if not found or term.waits:
        return {}
    committed = tuple(row.committed for row in found)
    status = progress.read(runs.folder(settings.data) / runs.CURRENT)
    return {"the labels": (committed, term.tries, status, int(_computed_s() / _CPU_S))}


def _computed_s() -> float:
    """CPU time of this process and of those that train for it."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
