"""Other answers than one label: several tasks on one backbone, vectors, labels from the data."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kernel import artefact
from schemas.tasks import INTENTS
from tests.support.easy_labels import easy_rows
from tests.support.tiny_backbone import tiny_backbone
from tests.trainer.test_tags import conll
from trainer import commands, files, tasks
from trainer.entity_metrics import EntityReport, RetrievalReport
from trainer.errors import DataError, TrainerError


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("recipe")
    texts = [row.text for row in easy_rows()] + [conll().replace("X X", "")]
    backbone = tiny_backbone(folder / "backbone", texts)
    path = folder / "quick.toml"
    path.write_text(
        f'backbone = "{backbone}"\nmax_steps = 80\nlearning_rate = 3e-3\n'
        'head_learning_rate = 1e-2\nmax_tokens = 32\nheld_back = 0.2\nmixed_precision = "off"\n'
    )
    return str(path)


def write_csv(path: Path, columns: dict[str, list[str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def labelled(path: Path) -> Path:
    rows = easy_rows()
    columns = {
        "text": [row.text for row in rows],
        "target": [row.target or "" for row in rows],
        "label": [row.label for row in rows],
    }
    return write_csv(path, columns)


def test_parts_share_one_training_and_leave_an_artefact_each(recipe: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    labelled(data / "sentiment.csv")
    labelled(data / "intents.csv")
    (data / "entities.conll").write_text(conll())
    task = tmp_path / "all.toml"
    task.write_text('name = "all"\nparts = ["sentiment", "intents", "entities"]\n')
    commands.train(str(task), data, out=tmp_path / "out", recipe=recipe)
    kinds = {}
    for name in ("sentiment", "intents", "entities"):
        folder = tmp_path / "out" / name
        kinds[name] = artefact.read(folder).kind
        suffix = "conll" if name == "entities" else "csv"
        report = commands.evaluate(folder, data / f"{name}.{suffix}")
        assert report.accuracy > 0.9
        if isinstance(report, EntityReport):
            assert report.entity_f1 > 0.9
    assert kinds == {
        "sentiment": "pair-classifier",
        "intents": "text-classifier",
        "entities": "token-classifier",
    }
    shared = {
        artefact.sha256(tmp_path / "out" / name / "checkpoint" / "model.safetensors")
        for name in kinds
    }
    assert len(shared) == 1


def test_vectors_find_what_is_near(recipe: str, tmp_path: Path) -> None:
    task = tmp_path / "near.toml"
    task.write_text('name = "near"\ninputs = "pair"\nanswer = "vector"\n')
    rows = easy_rows()
    pairs = write_csv(
        tmp_path / "pairs.csv",
        {"text": [row.text for row in rows], "target": [row.text.lower() for row in rows]},
    )
    report = commands.train(str(task), pairs, out=tmp_path / "out", recipe=recipe)
    assert isinstance(report, RetrievalReport)
    assert report.recall_at["1"] > 0.9
    assert artefact.read(tmp_path / "out").kind == "embedder"


def test_labels_come_from_the_data_where_the_task_leaves_them_open(tmp_path: Path) -> None:
    rows = files.read(labelled(tmp_path / "rows.csv"), INTENTS)
    assert tasks.with_labels(INTENTS, rows).labels == ("negative", "neutral", "positive")
    one = [row for row in rows if row.label == "neutral"]
    with pytest.raises(DataError, match="its labels come from the data, which name neutral"):
        tasks.with_labels(INTENTS, one)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "x"\ninputs = "tokens"\n', "'tokens' and answer 'tags' come together"),
        ('name = "x"\ninputs = "text"\nanswer = "vector"\n', "learns from pairs"),
        ('name = "x"\ninputs = "text"\nlabels = ["a"]\n', "at least two labels"),
        ('name = "x"\ninputs = "text"\nlables = ["a", "b"]\n', "unknown fields: lables"),
        (
            'name = "x"\ninputs = "tokens"\nanswer = "tags"\nlabels = ["B-X", "O"]\n',
            "first of the labels must be 'O'",
        ),
    ],
)
def test_a_task_file_that_cannot_be_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text(text)
    with pytest.raises(TrainerError, match=says):
        tasks.find(str(path))


def test_a_part_without_a_file_is_named(recipe: str, tmp_path: Path) -> None:
    task = tmp_path / "two.toml"
    task.write_text('name = "two"\nparts = ["sentiment", "intents"]\n')
    labelled(tmp_path / "sentiment.csv")
    with pytest.raises(TrainerError, match=r"intents\.csv is missing"):
        commands.train(str(task), tmp_path, out=tmp_path / "out", recipe=recipe)
