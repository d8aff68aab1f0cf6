"""A run leaves its record and its event files, and can be made again from the record."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from tests.support.command import headrace
from tests.support.easy_labels import easy_rows
from tests.support.tiny_backbone import tiny_backbone
from trainer import commands, rerun, runs, tracking
from trainer.errors import RefusedError, TrainerError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `model`, with its record in `model.run`."""
    folder: Path = tmp_path_factory.mktemp("rerun")
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "target", "label"])
        writer.writerows([(row.text, row.target, row.label) for row in easy_rows()])
    (folder / "tiny.toml").write_text(
        f'backbone = "{tiny_backbone(folder / "backbone")}"\nmax_steps = 12\nmax_tokens = 32\n'
        'held_back = 0.25\nmixed_precision = "off"\nlearning_rate = 1e-3\n'
    )
    commands.train(
        "sentiment",
        folder / "rows.csv",
        out=folder / "model",
        recipe=str(folder / "tiny.toml"),
    )
    return folder


def test_a_run_is_made_again_from_its_record_with_the_same_figures(folder: Path) -> None:
    made = headrace("rerun", str(folder / "model.run"), "--out", str(folder / "again"), "--json")
    assert made.code == 0, made.err
    (found,) = made.lines()
    assert found["same"] is True
    assert found["after"] == pytest.approx(found["before"], abs=rerun.TOLERANCE)
    assert found["version"] == rerun.read(folder / "model.run").version


def test_a_run_whose_figures_differ_is_said_to(folder: Path, tmp_path: Path) -> None:
    run = rerun.read(folder / "model.run")
    other = msgspec.structs.replace(run, metrics={"accuracy": 0.01, "macro_f1": 0.01})
    (tmp_path / runs.RECORD).write_bytes(msgspec.json.encode(other))
    made = headrace("rerun", str(tmp_path), "--out", str(tmp_path / "again"))
    assert made.code == 8
    assert "came to other figures" in made.err


def test_what_cannot_be_made_again_is_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    run = rerun.read(folder / "model.run")
    rows = tmp_path / "rows.csv"
    rows.write_text("text,target,label\n")
    changed = msgspec.structs.replace(run, sources=[runs.Source(str(rows), "0" * 64)])
    with pytest.raises(TrainerError, match="not the file that run"):
        rerun.rows_of_files(changed)
    limited = tmp_path / runs.RECORD
    limited.write_bytes(msgspec.json.encode(msgspec.structs.replace(run, minutes=3.0)))
    with pytest.raises(TrainerError, match="followed the clock"):
        rerun.read(limited)
    with pytest.raises(TrainerError, match="no record of a run"):
        rerun.read(rows)


def test_tensorboard_has_the_loss_and_the_final_figures(folder: Path) -> None:
    events = EventAccumulator(str(folder / "model.run" / tracking.FOLDER))
    events.Reload()
    assert {"train/loss", "final/accuracy", "final/macro_f1"} <= set(events.Tags()["scalars"])
    assert [one.step for one in events.Scalars("train/loss")] == [5, 10]


def test_a_tracker_that_is_configured_and_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracking.configured({}) == []
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(RefusedError, match=r"MLFLOW_TRACKING_URI is set but mlflow"):
        tracking.configured({"MLFLOW_TRACKING_URI": "file:x"})
    with pytest.raises(RefusedError, match=r"headrace\[tracking\]"):
        tracking.configured({"WANDB_PROJECT": "x"})
