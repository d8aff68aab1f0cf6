"""The law of delivery holds over the whole pipeline, in a short seeded run of every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.main import run as command
from proof.chaos import history
from proof.chaos.pipeline_system import MENU, attack_pipeline
from proof.chaos.runner import Options

OPTIONS = Options(seed=11, minutes=2.0, rate=60, every_s=7.5, rest_s=150, menu=MENU)


@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_disordered_under_every_kind_of_fault(
    tmp_path: Path,
) -> None:
    report, entries = await attack_pipeline(OPTIONS, tmp_path, lambda _line: None)
    assert report.anomalies == {}, report.evidence
    # A full disk has to be mounted, which not every machine allows.
    missed = {line.split()[0] for line in report.missed}
    assert missed <= {"disk-full"}, report.missed
    assert sum(report.faults.values()) >= 12
    assert set(report.faults) == set(MENU) - missed
    assert report.results > 1_000  # a busy machine is fed less
    assert report.dead_letters > 5

    file = tmp_path / "history.jsonl"
    history.write(file, entries)
    assert command(["check", str(file)]) == 0
