"""A trainer that stands still before labels ends itself; one that waits for more does not."""

from __future__ import annotations

import asyncio

import pytest

from schemas.topics import LABELS
from streams import watchdog
from streams.settings import Settings
from tests.support import topics
from trainer import service
from trainer.counters import TrainerStats

pytestmark = pytest.mark.timeout(120)


class EndedError(Exception):
    """The process would have ended."""


class Hanging:
    """A term that never gets anywhere."""

    waits = False
    tries = 0

    def __init__(self, settings: Settings, stats: TrainerStats) -> None:
        """As a term."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Waiting(Hanging):
    """A term that has read all labels and waits for more."""

    waits = True


@pytest.fixture(autouse=True)
def _the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(reason: str) -> None:
        raise EndedError(reason)

    monkeypatch.setattr(watchdog, "fail_stop", end)


async def test_labels_that_nobody_learns_from_end_the_trainer_unless_it_waits_for_more(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.publish(cluster, LABELS.name, [(b"k", b"{}")])
    settings = cluster.model_copy(update={"standstill_s": 0.5})
    monkeypatch.setattr(service, "Term", Waiting)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.serve(settings), 6)
    monkeypatch.setattr(service, "Term", Hanging)
    with pytest.raises(EndedError, match="no progress of the labels"):
        await asyncio.wait_for(service.serve(settings), 60)
