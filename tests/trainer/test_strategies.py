"""Every strategy learns easy labels, alone; what it cannot be used for is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from schemas.tasks import SENTIMENT, Task
from tests.support.easy_labels import NAMES, SAYINGS, easy_rows
from tests.support.tiny_backbone import quick, tiny_backbone
from trainer import dataset, strategies
from trainer.dataset import Dataset, Row
from trainer.encoding import encode, predict
from trainer.errors import RefusedError, TrainerError
from trainer.fit import Fitted, fit
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.scoring import truth
from trainer.strategies.augment import translator
from trainer.strategies.counterfactual import exchanged

TEXTS = Task(name="texts", labels=SENTIMENT.labels, inputs="text")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Texts of the same kind, about the same names, that carry no label."""
    path = tmp_path / "texts.txt"
    lines = [f"{name} says {text}" for name in NAMES for said in SAYINGS.values() for text in said]
    path.write_text("\n".join(lines))
    return path


def rows(task: Task = SENTIMENT) -> Dataset:
    return dataset.build(easy_rows(), task, 0.25)


def train(recipe: Recipe, folder: Path, data: Dataset, task: Task = SENTIMENT) -> Fitted:
    torch.set_num_threads(1)
    progress = Progress(folder / "current.json", "v", task.name)
    return fit(data.train, task, recipe, folder=folder / "checkpoints", progress=progress)


def accuracy(fitted: Fitted, recipe: Recipe, data: Dataset, task: Task = SENTIMENT) -> float:
    features = encode(data.held_back, fitted.tokenizer, task, recipe)
    said = predict(fitted.model, features, fitted.collate).argmax(axis=1)
    return float((said == truth(data.held_back, task.labels)).mean())


OPTIONS: list[dict[str, dict[str, Any]]] = [
    {},
    {"r-drop": {"weight": 0.5}},
    {"fgm": {"radius": 0.1}},
    {"pgd": {"radius": 0.1, "step": 0.05, "moves": 2}},
    {"mixup": {}},
    {"ema": {"decay": 0.9}},
    {"swa": {"last": 0.3}},
    {"early-stopping": {"share": 0.2}},
    {"ensemble": {"members": 2}},
    {"ensemble": {"members": 2, "combine": "weights"}},
    {"prune": {"layers": 1, "feed_forward": 0.5, "heads": 0.5}},
    {"counterfactual": {"rename": 0.5}},
    {"mlm": {"max_steps": 10}, "augment": {"dropout": 0.1, "synonyms": 0.2}},
    {"augment": {"back_translation": "tests.trainer.test_strategies:said_again"}},
    {"self-training": {"threshold": 0.6}},
    {"r-drop": {"weight": 0.3}, "ema": {"decay": 0.8}, "counterfactual": {"rename": 0.5}},
]


def said_again(texts: list[str]) -> list[str]:
    """A translator there and back that turns sentences around a little."""
    return [f"{text}, it is said" for text in texts]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "full")
def test_an_option_beside_full_fine_tuning_learns_easy_labels(
    options: dict[str, dict[str, Any]], backbone: Path, unlabelled: Path, tmp_path: Path
) -> None:
    recipe = quick(backbone, options=options, checkpoint_steps=20, unlabelled=(str(unlabelled),))
    data = rows()
    fitted = train(recipe, tmp_path, data)
    assert accuracy(fitted, recipe, data) > 0.9
    added = {"augmented", "counterfactual", "self_labelled"} & set(fitted.figures)
    assert all(fitted.figures[name] > 0 for name in added)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("lora", {"rank": 8, "modules": "all-linear"}),
        ("prefix", {"tokens": 8}),
        ("adapter", {"width": 32}),
        ("few-shot", {}),
        ("few-shot", {"contrastive": False}),
    ],
    ids=["lora", "prefix", "adapter", "few-shot", "frozen"],
)
def test_a_strategy_that_moves_few_weights_learns(
    strategy: str, settings: dict[str, Any], backbone: Path, tmp_path: Path
) -> None:
    recipe = quick(
        backbone,
        strategy,
        options={strategy: settings},
        max_steps={"prefix": 300}.get(strategy, 150),
        learning_rate={"few-shot": 2e-3, "lora": 5e-3}.get(strategy, 2e-2),
        head_learning_rate=2e-2,
    )
    data = rows()
    before = {name: one.clone() for name, one in _backbone(recipe).items()}
    fitted = train(recipe, tmp_path, data)
    assert accuracy(fitted, recipe, data) > 0.6  # chance is a third
    if strategy == "adapter" or settings == {"contrastive": False}:
        after = fitted.model.backbone.state_dict()
        kept = [name for name in before if name in after]
        assert kept
        assert all(torch.equal(before[name], after[name]) for name in kept)


def _backbone(recipe: Recipe) -> dict[str, torch.Tensor]:
    from transformers import AutoModel  # noqa: PLC0415  (slow)

    found: dict[str, torch.Tensor] = AutoModel.from_pretrained(recipe.backbone).state_dict()
    return found


def test_zero_shot_names_labels_by_their_descriptions_without_a_row(tmp_path: Path) -> None:
    task = replace(
        TEXTS,
        labels=("sport", "weather", "money"),
        descriptions={"money": "banks, shares and loans"},
    )
    recipe = Recipe(name="zero", strategy="zero-shot", max_tokens=32)
    said = [("The match ended two goals to one", "sport"), ("Rain and strong winds", "weather")]
    said.append(("Interest on the loan rises", "money"))
    held = [Row(str(n), text, None, label) for n, (text, label) in enumerate(said)]
    data = Dataset([], held, [], 0, 0)
    fitted = train(recipe, tmp_path, data, task)
    assert fitted.steps == 0
    assert accuracy(fitted, recipe, data, task) == 1


def test_continual_learning_reports_what_it_forgot_and_replay_keeps_more_of_it(
    backbone: Path, tmp_path: Path
) -> None:
    data = rows(TEXTS)
    first = quick(backbone)
    fitted = train(first, tmp_path / "first", data, TEXTS)
    fitted.model.save(tmp_path / "start")
    fitted.tokenizer.save(str(tmp_path / "start" / "tokenizer.json"))
    new = [Row(f"new-{n}", f"corn prices {n}", None, "negative") for n in range(24)]
    later = Dataset([*data.train, *new], data.held_back, [], 0, 0)
    forgotten = {}
    for replay in (0.0, 2.0):
        options = {"continual": {"new": len(new), "replay": replay}}
        recipe = quick(backbone, start=str(tmp_path / "start"), options=options)
        found = train(recipe, tmp_path / f"replay-{replay}", later, TEXTS).figures
        assert found["old_accuracy_before"] > 0.9
        forgotten[replay] = found["forgetting"]
    assert forgotten[2.0] < forgotten[0.0]


def test_averaged_weights_are_not_those_of_the_last_step(backbone: Path, tmp_path: Path) -> None:
    data = rows()
    plain = train(quick(backbone), tmp_path / "plain", data)
    averaged = train(quick(backbone, options={"swa": {}}), tmp_path / "swa", data)
    assert not torch.equal(plain.model.head.weight, averaged.model.head.weight)


def test_a_pruned_network_is_smaller(backbone: Path, tmp_path: Path) -> None:
    data = rows()
    options = {"prune": {"layers": 1, "feed_forward": 0.5, "heads": 0.5}}
    fitted = train(quick(backbone, options=options, max_steps=1), tmp_path, data)
    (layer,) = fitted.model.backbone.encoder.layer
    assert layer.intermediate.dense.out_features == 32
    assert layer.attention.self.num_attention_heads == 2
    assert fitted.figures["parameters"] == sum(
        one.numel() for one in fitted.model.backbone.parameters()
    )


def test_targets_that_change_places_take_their_labels_along() -> None:
    assert exchanged("Acme beats Bolt", "Acme", "Bolt") == "Bolt beats Acme"
    assert exchanged("Acme beats Bolt; Bolt is sad", "Acme", "Bolt") == (
        "Bolt beats Acme; Acme is sad"
    )
    assert exchanged("Acme Corp beats it", "Acme", "Acme Corp") is None
    assert exchanged("Acme beats it", "Acme", "Bolt") is None


@pytest.mark.parametrize(
    ("strategy", "options", "says"),
    [
        ("forest", {}, "no strategy 'forest': there are full, lora"),
        ("full", {"magic": {}}, "no option 'magic' beside the strategy 'full': there are mlm"),
        ("full", {"r-drop": {"height": 1}}, "its settings are: weight"),
        ("full", {"self-training": {}}, "name files in the recipe's `unlabelled`"),
        ("full", {"augment": {}}, "dropout, synonyms or back_translation"),
        ("full", {"augment": {"synonyms": 0.1}}, "add \\[options.mlm\\] before it"),
        ("full", {"augment": {"back_translation": "no.such:thing"}}, "no translator"),
        ("full", {"distil": {"teachers": ["nowhere"]}}, "the teacher cannot be asked"),
        ("full", {"continual": {}}, "name its folder as the recipe's `start`"),
        ("full", {"prune": {"layers": 9}}, "of 2 layers 9 cannot be kept"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_change(
    strategy: str, options: dict[str, Any], says: str, backbone: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainerError, match=says):
        train(quick(backbone, strategy, options=options), tmp_path, rows())


@pytest.mark.parametrize("name", ["counterfactual", "mixup"])
def test_an_option_for_other_tasks_is_refused(name: str, backbone: Path, tmp_path: Path) -> None:
    task = Task(name="tags", labels=("O", "B-X", "I-X"), inputs="tokens", answer="tags")
    tagged = [Row("1", "a b", None, "", tags=("B-X", "O"))]
    with pytest.raises(RefusedError, match=r"is for tasks"):
        train(quick(backbone, options={name: {}}), tmp_path, Dataset(tagged, [], [], 0, 0), task)


def test_a_translator_is_found_by_its_dotted_name() -> None:
    assert translator("tests.trainer.test_strategies:said_again")(["up"]) == ["up, it is said"]


def test_every_name_of_a_strategy_leads_to_one() -> None:
    for name in strategies.BASES:
        assert strategies.of(Recipe(name="r", strategy=name))
    for name in strategies.OPTIONS:
        settings = {"distil": {"teachers": ["t"]}}.get(name, {})
        assert len(strategies.of(Recipe(name="r", options={name: settings}))) == 2


def test_an_adversary_moves_word_vectors_only_for_the_pass(backbone: Path, tmp_path: Path) -> None:
    # With a rate of nearly nothing the vectors must end where they began.
    options = {"fgm": {"radius": 5.0}, "pgd": {"radius": 5.0}}
    recipe = quick(
        backbone, options=options, max_steps=2, learning_rate=1e-12, head_learning_rate=1e-12
    )
    fitted = train(recipe, tmp_path, rows())
    before = _backbone(recipe)["embeddings.word_embeddings.weight"]
    after = fitted.model.backbone.get_input_embeddings().weight.detach()
    assert np.allclose(before.numpy(), after.numpy(), atol=1e-6)
