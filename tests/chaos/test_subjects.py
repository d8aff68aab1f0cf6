"""The suite convicts what is broken, and acquits what is right, under the same faults.

The two quickest of the broken ones are in every run of the tests; with
CHAOS_SUBJECTS=all, as `make chaos` sets it, all of them are.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proof.chaos.faults import schedule
from proof.chaos.runner import (
    SUBJECT_MENU,
    NotWorkingError,
    Options,
    attack_subject,
)
from proof.chaos.subjects import SUBJECTS

QUICK = {"lanes", "shared-consumer", "shared-consumer-discarding"}
OPTIONS = Options(seed=1, minutes=0.4, rate=400, every_s=3, rest_s=10, menu=SUBJECT_MENU)


def chosen() -> list[str]:
    return [name for name in SUBJECTS if name in QUICK or os.environ.get("CHAOS_SUBJECTS")]


def silent(_line: str) -> None:
    """Nobody watches a test."""


@pytest.mark.parametrize("name", chosen())
async def test_a_wiring_is_convicted_of_what_it_does_and_the_lanes_are_acquitted(
    name: str, tmp_path: Path
) -> None:
    report, _ = await attack_subject(name, OPTIONS, tmp_path, silent)
    assert sum(report.faults.values()) == len(schedule(1, 24, 3, SUBJECT_MENU))
    assert report.results > 0
    if SUBJECTS[name].shows:
        assert SUBJECTS[name].shows & set(report.anomalies), report.anomalies
    else:
        assert report.anomalies == {}, report.evidence
        assert report.at_rest


async def test_a_service_that_never_works_is_no_conviction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proof.chaos.runner._WORKS_S", 3.0)
    with pytest.raises(NotWorkingError, match="before any fault"):
        await attack_subject("nobody", OPTIONS, tmp_path, silent)
